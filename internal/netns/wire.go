package netns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a wire.
type End struct {
	In    *Namespace
	Name  string // of the device
	Addrs []netip.Prefix
}

// Wire describes a veth pair.
type Wire struct {
	A, B End
	MTU  int // of both, octets; 0: 1500
}

// upLimit is how long devices may take until they carry frames.
const upLimit = 10 * time.Second

// Join makes a wire, with both ends up and running. It goes with either namespace.
func Join(w Wire) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = w.A.Name, w.MTU
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: w.B.Name, PeerMTU: uint32(w.MTU),
		PeerNamespace: netlink.NsFd(w.B.In.fd()),
	}
	if err := w.A.In.Do(func() error { return netlink.LinkAdd(veth) }); err != nil {
		return fmt.Errorf("making a veth pair (which takes root, and a kernel with CONFIG_VETH): %w", err)
	}
	for _, step := range []func(End) error{End.up, End.running} {
		for _, e := range []End{w.A, w.B} {
			if err := step(e); err != nil {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
		}
	}
	return nil
}

// up gives one end its addresses.
func (e End) up() error {
	return e.In.Link(e.Name, func(l netlink.Link) error {
		for _, a := range e.Addrs {
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: IPNet(a)}); err != nil {
				return fmt.Errorf("address %v: %w", a, err)
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// running waits until the kernel has taken note that a device has a carrier and that
// its addresses may be used, which it does in its own time; before that its routes
// are not what they will be.
func (e End) running() error {
	for end := time.Now().Add(upLimit); ; time.Sleep(5 * time.Millisecond) {
		ready := false
		err := e.In.Link(e.Name, func(l netlink.Link) error {
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			ready = l.Attrs().OperState == netlink.OperUp && !slices.ContainsFunc(addrs, tentative)
			return err
		})
		if err != nil || ready {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no carrier, or addresses that may not be used, after %v", upLimit)
		}
	}
}

func tentative(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }

// Link calls f, in the namespace, with one of its devices.
func (n *Namespace) Link(name string, f func(netlink.Link) error) error {
	return n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// IPNet writes a prefix as package net does, with the bits behind the prefix.
func IPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
