// Package nic is the privileged part of the way over the host's own network
// devices, beside the kernel's TCP: it gives each pool a TAP device, and loads
// the eBPF programs that hand to it what arrives for it and let out what it may
// send. The server uses it:
//
//	Check                 what is missing: privileges, kernel
//	Open(Config)          attaches to the devices; takes over what a dead server left
//	Manager.Addrs         the devices' addresses now
//	Manager.Route         source address, MTU and device for a remote address
//	Manager.Permit        what the lists of the configuration say
//	Manager.NewPool       a TAP; Pool.File is its descriptor, to be passed on
//	Pool.Listen, Connect  what the pool gets and may send; Unlisten, Disconnect
//	Manager.Close         everything is as before
//
// It moves no packet and knows no TCP state: this is the business of who holds the
// descriptor (frames: virtio_net_hdr of 12 octets, little endian, an Ethernet
// header whose addresses nobody looks at, IP). It changes nothing of the host's
// configuration but devices that it has made itself.
package nic
