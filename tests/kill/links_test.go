package kill

import (
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"usertcp/internal/nic"
	"usertcp/internal/server"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
)

// link is a way for packets between two hosts.
type link struct {
	name  string
	share int // of a hundred kills
	start func(t *testing.T, stderr *os.File) hosts
}

var links = []link{{"ring", 80, onRing}, {"nic", 20, overDevices}}

// hosts are two hosts, whose children write to stderr.
type hosts struct {
	from, to string         // the sockets of their servers
	at       netip.AddrPort // where the survivors listen
	parents  []int          // of their children
}

// children counts the children that live.
func (h *hosts) children() (n int) {
	for _, parent := range h.parents {
		for _, pid := range testhost.Children(parent) {
			if testhost.Running(pid) {
				n++
			}
		}
	}
	return n
}

func onRing(t *testing.T, stderr *os.File) hosts {
	dir := testhost.Dir(t)
	log := func(c *server.Config) { c.Stderr = stderr }
	from := testhost.StartWith(t, dir, log, testhost.Addrs(0)...)
	to := testhost.StartWith(t, dir, log, testhost.Addrs(1)...)
	return hosts{from.Socket, to.Socket, netip.AddrPortFrom(to.Addr, port), []int{os.Getpid()}}
}

// overDevices makes two namespaces with a veth pair between them.
func overDevices(t *testing.T, stderr *os.File) hosts {
	a, b := testnet.New(t), testnet.New(t)
	if err := nic.Check(); err != nil {
		t.Skip(err)
	}
	testnet.Pair(a, b, 1500)
	h := hosts{at: netip.AddrPortFrom(netip.MustParseAddr(testnet.PairB4), port)}
	start := func(in *testnet.Namespace, device string) (socket string) {
		dir := testhost.Dir(t)
		socket = filepath.Join(dir, "socket")
		var p *testhost.Process
		in.Do(func() {
			p = testhost.RunTo(t, stderr, socket, testhost.NICServer, socket, device, filepath.Join(dir, "pins"))
		})
		t.Cleanup(func() { // in order, so that its children end too
			p.Kill(syscall.SIGTERM)
			p.Wait()
		})
		p.Want("ready")
		h.parents = append(h.parents, p.Pid())
		return socket
	}
	h.from, h.to = start(a, "va"), start(b, "vb")
	return h
}
