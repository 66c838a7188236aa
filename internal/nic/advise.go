package nic

import (
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// advise tells in the log which of the host's settings, none of which is changed,
// stand in the way of something.
func (m *Manager) advise() {
	for _, a := range m.advice() {
		m.log.Warn(a)
	}
}

// advice runs in the place's thread.
func (m *Manager) advice() []string {
	var all []string
	if m.devices[loopback] != nil && setting("ipv4/conf/all/rp_filter") != "0" {
		all = append(all, "net.ipv4.conf.all.rp_filter is not 0: over IPv4, this host's kernel TCP and user-space TCP can't reach each other")
	}
	if setting("ipv6/conf/all/disable_ipv6") == "1" {
		all = append(all, "net.ipv6.conf.all.disable_ipv6 is 1: there is no IPv6")
	}
	rules, err := m.routes.RuleList(netlink.FAMILY_ALL)
	if err != nil {
		return all
	}
	for _, r := range rules {
		if r.IifName != "" || r.OifName != "" || r.Mark != 0 || r.UIDRange != nil {
			all = append(all, "a routing rule asks for a device, a mark or a user, which packets from user space do not have as the kernel's do: "+r.String())
		}
	}
	return all
}

// setting reads a sysctl of the calling thread's namespace.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/net/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
