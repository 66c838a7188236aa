package nic

import (
	"log/slog"
	"net/netip"
)

// Config says what a Manager serves, and to whom.
type Config struct {
	// Devices are the names of the devices whose traffic is looked at: Ethernet
	// devices (VLAN devices, bridges, bonds and veth among them) and lo. Local
	// destinations can be reached only if lo is among them.
	Devices []string

	// Deny and Allow restrict who may be talked to, since netfilter does not see
	// this traffic. A connection is refused if a rule of Deny is about it, or if
	// Allow is not empty and none of its rules is.
	Deny, Allow []Rule

	// Pins is a directory for what outlives the server. It, or one above it, is
	// in a bpffs; if not, one is mounted there until Close. Empty: /sys/fs/bpf/usertcp,
	// or /run/usertcp/bpf if nothing is mounted there.
	Pins string

	Log *slog.Logger // nil: slog.Default

	// Changed is called, by one goroutine and not often, when Addrs or an answer
	// of Route may have changed. It may be nil.
	Changed func()

	// Grew is called, by the same goroutine, when a packet to some address may be longer
	// than before, and the way that was found before is not used any more; mtu is the
	// largest MTU of the devices that are served, octets. It may be nil.
	Grew func(mtu int)
}

// Rule is about connections with a remote address in Prefix whose service has a
// port from First to Last. The service is at the remote end of connections that
// go out, and at our end of those that come in. Both ports 0: all of them.
type Rule struct {
	Prefix      netip.Prefix
	First, Last uint16
}

// Route is how packets to some address leave the host.
type Route struct {
	Source netip.Addr // that the kernel would choose
	MTU    int        // octets of an IP packet, at most 65,535
	Device string
	Local  bool // the address is the host's own: packets stay inside
}

// PoolCounters say what became of the frames of one pool.
type PoolCounters struct {
	In, InOctets   uint64 // handed to the pool's TAP
	Errors         uint64 // of In, ICMP errors
	InLost         uint64 // no room in the TAP's queue: the pool did not read
	Out, OutOctets uint64 // let out

	// Frames of the pool that were dropped.
	Malformed uint64 // not IP and TCP as a driver writes it
	Foreign   uint64 // source or peer that is not this pool's
	Denied    uint64 // by the lists
	TooBig    uint64 // for the device's MTU, in one piece or in what it is cut into
	NoRoute   uint64 // none, or one that forbids
	Unserved  uint64 // the route's device is not served
}

// Counters say what became of the frames that arrived by the devices.
type Counters struct {
	Passed    uint64 // to the kernel, nothing of ours
	Delivered uint64 // to pools
	Errors    uint64 // ICMP errors, to a pool and to the kernel
	Fragments uint64 // of Passed, fragments of TCP
	Tagged    uint64 // of Passed, with a VLAN tag: their VLAN device is asked
	Strange   uint64 // of Passed, headers too long, or an address that cannot be on that device
	Orphaned  uint64 // of Passed, for a pool whose TAP is gone
	Denied    uint64 // dropped, by the lists
}
