package nic

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// Take gives the pool a flow as Connect does, from a pool that may have it: what comes
// goes from one to the other at once.
func (p *Pool) Take(f wire.Flow, from *Pool) error {
	k := keyFlow(f)
	p.m.mu.Lock()
	owned := false
	if from != nil {
		_, owned = from.flows[k]
	}
	if !owned || p.ended {
		p.m.mu.Unlock()
		return p.Connect(f)
	}
	defer p.m.mu.Unlock()
	o := p.owner()
	if p.m.isLocal(f.Remote.Addr) {
		o.Inside = 1
	}
	if err := p.m.kernel.Flows.Update(k, o, ebpf.UpdateExist); err != nil {
		return mapError(err)
	}
	delete(from.flows, k)
	p.flows[k] = true
	return nil
}

// Deliver gives the pool an Ethernet frame as if it had come by a device, its checksums
// complete. That takes CAP_NET_RAW.
func (p *Pool) Deliver(frame []byte) error {
	return p.m.place.do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		err = unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: p.tap})
		return errors.Join(err, unix.Close(fd))
	})
}
