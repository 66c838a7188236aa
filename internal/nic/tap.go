package nic

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tapName is the pattern of the TAPs' names; the kernel puts a number in.
const tapName = "utcp%d"

// HeaderLen is the length of the virtio_net_hdr before each frame, octets.
const HeaderLen = 12

// tapQueue is the number of frames that wait for the pool's processes.
const tapQueue = 4096

// The offloads that the holders of a TAP take: frames of up to 64 KiB, and TCP
// checksums that are only begun.
const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN

// makeTAP makes a TAP in the calling thread's namespace. It ends when nobody has its
// descriptor any more.
func makeTAP() (f *os.File, name string, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", fmt.Errorf("/dev/net/tun: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	req, err := unix.NewIfreq(tapName)
	if err != nil {
		return nil, "", err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, "", fmt.Errorf("make a TAP: %w", err)
	}
	err = errors.Join(
		unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, HeaderLen),
		unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1),
		unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads),
	)
	if err != nil {
		return nil, "", fmt.Errorf("TAP %s: %w", req.Name(), err)
	}
	// Not blocking only now: else the poller would take it, and every packet of the
	// pool would wake this process.
	f = os.NewFile(uintptr(fd), req.Name())
	return f, req.Name(), unix.SetNonblock(fd, true)
}

// tapSettings are what a TAP must not, or may, do. All are the TAP's own.
var tapSettings = []struct{ name, value string }{
	// No addresses and no chatter of its own.
	{"ipv6/conf/%s/addr_gen_mode", "1"},
	{"ipv6/conf/%s/accept_ra", "0"},
	{"ipv6/conf/%s/router_solicitations", "0"},
	{"ipv6/conf/%s/disable_ipv6", "0"},
	// bpf_fib_lookup answers for devices that forward. What could be forwarded is
	// what the template lets into the stack: packets to this host, that is nothing.
	{"ipv4/conf/%s/forwarding", "1"},
	{"ipv6/conf/%s/forwarding", "1"},
	// Packets to this host come from this host.
	{"ipv4/conf/%s/accept_local", "1"},
	{"ipv4/conf/%s/route_localnet", "1"},
	{"ipv4/conf/%s/rp_filter", "0"},
	{"ipv4/conf/%s/send_redirects", "0"},
}

// setTAP writes the settings, and puts the TAP up. It runs in the TAP's namespace.
func setTAP(name string, up *netlink.Handle) error {
	l, err := up.LinkByName(name)
	if err != nil {
		return err
	}
	// First: a device that forwards would join groups, and say so in frames.
	if err := up.LinkSetMulticastOff(l); err != nil {
		return err
	}
	for _, s := range tapSettings {
		path := filepath.Join("/proc/sys/net", fmt.Sprintf(s.name, name))
		err := os.WriteFile(path, []byte(s.value), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
			return err
		}
	}
	return errors.Join(
		up.LinkSetTxQLen(l, tapQueue),
		up.LinkSetARPOff(l),
		withoutQueue(l, up),
		up.LinkSetUp(l),
	)
}

// withoutQueue takes away the queue that the kernel has before each device: the TAP's own is
// behind it, so that it would only cost each packet.
func withoutQueue(l netlink.Link, up *netlink.Handle) error {
	err := up.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT},
		QdiscType:  "noqueue",
	})
	if errors.Is(err, unix.EOPNOTSUPP) { // a kernel without traffic control
		return nil
	}
	return err
}
