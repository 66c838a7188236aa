package nic

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseRule reads a rule: an address or a prefix, and after a colon a port or a
// range of them ("10.0.0.0/8", "192.0.2.1:22", "[2001:db8::]/32:8000-8999", "*:80").
// An IPv6 address stands in brackets if a port follows; "*" is every address
// of both families.
func ParseRule(s string) ([]Rule, error) {
	prefix, ports, err := splitRule(s)
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", s, err)
	}
	first, last, err := parsePorts(ports)
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", s, err)
	}
	if prefix == "*" {
		return []Rule{
			{netip.MustParsePrefix("0.0.0.0/0"), first, last},
			{netip.MustParsePrefix("::/0"), first, last},
		}, nil
	}
	p, err := parsePrefix(prefix)
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", s, err)
	}
	return []Rule{{p, first, last}}, nil
}

// splitRule cuts a rule at the colon before its ports; brackets are taken away.
func splitRule(s string) (prefix, ports string, err error) {
	if strings.HasPrefix(s, "[") {
		addr, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return "", "", fmt.Errorf("no ] after [")
		}
		bits, ports, _ := strings.Cut(rest, ":")
		return addr + bits, ports, nil
	}
	if strings.Count(s, ":") > 1 { // IPv6 without a port
		return s, "", nil
	}
	prefix, ports, _ = strings.Cut(s, ":")
	return prefix, ports, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, err
		}
		if a.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("an address with a zone has no rules")
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("an IPv4 prefix is written as IPv4")
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("bits behind the prefix are not zero")
	}
	return p, nil
}

func parsePorts(s string) (first, last uint16, err error) {
	if s == "" {
		return 0, 0, nil
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("port %q is not a number below 65536", from)
	}
	b, err := strconv.ParseUint(to, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("port %q is not a number below 65536", to)
	}
	if a == 0 || b < a {
		return 0, 0, fmt.Errorf("ports %q: want 1 to 65535, the smaller first", s)
	}
	return uint16(a), uint16(b), nil
}

// about reports whether the rule concerns a connection with remote whose service has
// this port.
func (r Rule) about(remote netip.Addr, port uint16) bool {
	all := r.First == 0 && r.Last == 0
	return r.Prefix.Contains(remote.Unmap()) && (all || r.First <= port && port <= r.Last)
}

// check says what is wrong with a rule that was not made by ParseRule.
func (r Rule) check() error {
	if !r.Prefix.IsValid() || r.Prefix.Addr().Is4In6() || r.Last < r.First {
		return fmt.Errorf("rule %v ports %d to %d: prefix invalid, or ports in the wrong order", r.Prefix, r.First, r.Last)
	}
	return nil
}

// permitted applies deny and allow as Config says.
func permitted(deny, allow []Rule, remote netip.Addr, port uint16) bool {
	for _, r := range deny {
		if r.about(remote, port) {
			return false
		}
	}
	for _, r := range allow {
		if r.about(remote, port) {
			return true
		}
	}
	return len(allow) == 0
}
