package perf

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"usertcp/internal/netns"
)

// LinkOptions say what a link of network devices is like.
type LinkOptions struct {
	MTU        int  // octets; 0: 1500
	NoOffloads bool // no segments larger than the MTU and no partial checksums: TSO, GSO, GRO and checksum offload are off
}

// device is the name of both ends of a veth pair, each in a namespace of its own.
const device = "veth0"

// The ends' addresses.
var (
	clientPrefix = netip.MustParsePrefix("10.1.0.1/24")
	serverPrefix = netip.MustParsePrefix("10.1.0.2/24")
)

// link is two pairs of hosts, each pair joined by a veth pair: one with connection
// servers, whose programs every frame passes, and one without, so that the kernel's
// TCP is measured as it is where nobody has heard of this program.
type link struct {
	served, plain Hosts

	dir    string // sockets and pins
	spaces []*netns.Namespace
}

// StartLink makes a link of network devices, over which all pairings can be measured.
// It takes root.
func (r *Runner) StartLink(ctx context.Context, o LinkOptions) error {
	dir, err := os.MkdirTemp("", "usertcp-")
	if err != nil {
		return err
	}
	l := &link{dir: dir}
	r.link = l // from here on Close removes it
	if err := l.join(&l.plain, o); err != nil {
		return err
	}
	if err := l.join(&l.served, o); err != nil {
		return err
	}
	return errors.Join(
		r.serve(ctx, &l.served.Client, "1", r.cpus.client),
		r.serve(ctx, &l.served.Server, "2", r.cpus.server))
}

// join makes two hosts and what is between them.
func (l *link) join(h *Hosts, o LinkOptions) error {
	var ends [2]netns.End
	for i, p := range []netip.Prefix{clientPrefix, serverPrefix} {
		n, err := netns.New()
		if err != nil {
			return err
		}
		l.spaces = append(l.spaces, n)
		ends[i] = netns.End{In: n, Name: device, Addrs: []netip.Prefix{p}}
	}
	if err := netns.Join(netns.Wire{A: ends[0], B: ends[1], MTU: o.MTU}); err != nil {
		return err
	}
	for _, e := range ends {
		if !o.NoOffloads {
			break
		}
		if err := e.In.SetOffloads(device, false); err != nil {
			return err
		}
	}
	h.Client = Host{Addr: clientPrefix.Addr().String(), within: ends[0].In.Do}
	h.Server = Host{Addr: serverPrefix.Addr().String(), within: ends[1].In.Do}
	return nil
}

// serve starts the connection server of a host's device.
func (r *Runner) serve(ctx context.Context, h *Host, name, cpus string) error {
	h.Socket = filepath.Join(r.link.dir, name+".sock")
	flags := []string{"-nic", device, "-pins", r.link.pins(name)}
	return h.start(ctx, &r.group, r.command, append(flags, r.opt.Server...), cpus)
}

// pins is where a server pins its eBPF programs: in a directory of our own, so that
// they go even if the server can't take them away itself.
func (l *link) pins(name string) string { return filepath.Join(l.dir, name+".pins") }

// close removes everything; the processes have ended.
func (l *link) close() error {
	var errs []error
	for _, name := range []string{"1", "2"} {
		// EINVAL: the server has unmounted it, as it should; ENOENT: and removed it.
		err := unix.Unmount(l.pins(name), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
			errs = append(errs, os.NewSyscallError("umount", err))
		}
	}
	for _, n := range l.spaces {
		errs = append(errs, n.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// hosts returns where the programs of a pairing run.
func (l *link) hosts(p Pairing) *Hosts {
	if p == Baseline {
		return &l.plain
	}
	return &l.served
}
