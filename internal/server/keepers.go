package server

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// portKeeper keeps a port bound in the kernel when its listener has gone and connections
// that came in by it have not. It is in use as it would be if all of them were the
// kernel's: until the last one ends nobody gets it who does not ask for that port, nor who
// asks for it without SO_REUSEADDR; with it, and if the listener had set it, a server can
// be started again.
type portKeeper struct {
	local  wire.Endpoint
	points []int
	flows  int
}

// leave gives the kernel's bind points of a local end that goes to the connections
// that outlive it, whosever they are now, and closes them if there are none. The caller
// holds the mutex.
func (p *portSpace) leave(b *binding) {
	k := &portKeeper{local: b.local, points: b.points}
	for f, fw := range p.flows {
		if len(k.points) > 0 && fw.accepted && fw.kept == nil &&
			f.Local.Port == b.local.Port && b.local.Addr.Covers(&f.Local.Addr) {
			fw.kept = k
			p.flows[f] = fw
			k.flows++
		}
	}
	if b.reuse && !p.shared(b) { // of shards all points are the same, and so the last does that for all
		k.reusable()
	}
	if k.flows == 0 {
		message.CloseFiles(k.points)
		return
	}
	p.keepers[k.local.Port] = append(p.keepers[k.local.Port], k)
}

// reusable lets others have the port who set SO_REUSEADDR: bindKernel has cleared it.
func (k *portKeeper) reusable() {
	for _, fd := range k.points {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
}

// unkeep notes that a connection of a keeper's has ended. The caller holds the mutex.
func (p *portSpace) unkeep(k *portKeeper) {
	if k.flows--; k.flows > 0 {
		return
	}
	message.CloseFiles(k.points)
	port := k.local.Port
	rest := slices.DeleteFunc(p.keepers[port], func(x *portKeeper) bool { return x == k })
	if p.keepers[port] = rest; len(rest) == 0 {
		delete(p.keepers, port)
	}
}

// keepAgain binds the local end of a connection that was taken over, if no listener
// and no keeper has it bound. The kernel's TCP may have got it meanwhile.
func (p *portSpace) keepAgain(child wire.VCI, f wire.Flow) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bound, _ := p.boundBy(child, f.Local); bound {
		return
	}
	var k *portKeeper
	for _, x := range p.keepers[f.Local.Port] {
		if x.local == f.Local {
			k = x
		}
	}
	if k == nil {
		fd, errno := bindKernel(netip.AddrPortFrom(f.Local.Addr.Netip(), f.Local.Port), true)
		if errno != 0 {
			return
		}
		k = &portKeeper{local: f.Local, points: []int{fd}}
		k.reusable() // as nearly every listener is
		p.keepers[f.Local.Port] = append(p.keepers[f.Local.Port], k)
	}
	k.flows++
	fw := p.flows[f]
	fw.kept = k
	p.flows[f] = fw
}
