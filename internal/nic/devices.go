package nic

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// The names of pinned links; the device's number follows.
const (
	devicePin = "device-"
	errorPin  = "errors-"
	tapPin    = "tap-"
)

// sync makes what we know, and what the programs know, equal to what there is:
// devices, addresses, TAPs. It runs in the place's thread, holding no lock.
func (m *Manager) sync() error {
	links, err := m.routes.LinkList()
	if err != nil {
		return fmt.Errorf("devices: %w", err)
	}
	addrs, err := m.routes.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.links = map[int]linkState{}
	byName := map[string]netlink.Link{}
	for _, l := range links {
		a := l.Attrs()
		m.links[a.Index] = linkState{a.Name, a.MTU}
		byName[a.Name] = l
	}
	err = m.syncDevices(byName)
	err = errors.Join(err, m.syncAddrs(addrs))
	m.syncPools(links)
	return errors.Join(err, m.syncJoiner(links))
}

// syncDevices attaches to devices that have come, and forgets those that have gone.
func (m *Manager) syncDevices(there map[string]netlink.Link) error {
	var errs []error
	for name, d := range m.devices {
		l := there[name]
		if d.index != 0 && (l == nil || l.Attrs().Index != d.index) {
			m.log.Warn("a device that is served has gone", "device", name)
			m.leave(d)
		}
		if l != nil && d.index == 0 {
			if err := m.attach(d, l); err != nil {
				errs = append(errs, fmt.Errorf("device %s: %w", name, err))
			}
		}
	}
	return errors.Join(append(errs, m.syncErrors(there[loopback]))...)
}

// syncErrors sees to it that pools hear of the kernel's errors that come by lo, which
// those are of whose neighbours do not answer, also where lo is not served.
func (m *Manager) syncErrors(lo netlink.Link) (err error) {
	if m.devices[loopback] != nil || lo == nil || m.hears.index != 0 {
		return nil
	}
	index := lo.Attrs().Index
	if m.hears.link, err = m.attachProgram(index, m.kernel.HearErrors, errorPin); err != nil {
		return fmt.Errorf("errors by %s: %w", loopback, err)
	}
	m.hears.index = index
	return nil
}

// leave forgets a device that is not there any more: the kernel has detached.
func (m *Manager) leave(d *device) {
	d.link.Unpin()
	d.link.Close()
	m.kernel.Devices.Delete(uint32(d.index))
	*d = device{}
}

// attach puts the demultiplexer at a device's ingress.
func (m *Manager) attach(d *device, l netlink.Link) error {
	index := l.Attrs().Index
	if kind := l.Attrs().EncapType; kind != "ether" && kind != "loopback" {
		return fmt.Errorf("its frames (%s) have no Ethernet header: %w", kind, unix.EOPNOTSUPP)
	}
	ln, err := m.attachProgram(index, m.kernel.UsertcpDemux, devicePin)
	if err != nil {
		return err
	}
	if err := m.kernel.Devices.Put(uint32(index), uint32(1)); err != nil {
		ln.Unpin()
		ln.Close()
		return err
	}
	*d = device{index, ln}
	return nil
}

// attachProgram attaches to a device's ingress and pins the link; a link that is
// pinned is given the new program.
func (m *Manager) attachProgram(index int, program *ebpf.Program, pin string) (link.Link, error) {
	path := m.pins.path(pin + strconv.Itoa(index))
	if old, err := link.LoadPinnedLink(path, nil); err == nil {
		if linkIndex(old) == index {
			if err := old.Update(program); err == nil {
				return old, nil
			}
		}
		old.Unpin()
		old.Close()
	}
	if pin != errorPin { // which takes nothing from anybody
		if err := m.alone(index); err != nil {
			return nil, err
		}
	}
	ln, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, err
	}
	if err := ln.Pin(path); err != nil {
		ln.Close()
		return nil, fmt.Errorf("pin: %w", err)
	}
	return ln, nil
}

// linkIndex returns the device that a link is attached to, 0 if that has gone.
func linkIndex(ln link.Link) int {
	info, err := ln.Info()
	if err != nil || info.TCX() == nil {
		return 0
	}
	return int(info.TCX().Ifindex)
}

// programPrefix begins the names of the programs, by which servers know each other.
const programPrefix = "usertcp_"

// alone makes sure that no other server is at a device.
func (m *Manager) alone(index int) error {
	found, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	for _, p := range found.Programs {
		other, err := ebpf.NewProgramFromID(p.ID)
		if err != nil {
			continue // gone meanwhile
		}
		info, err := other.Info()
		other.Close()
		if err == nil && strings.HasPrefix(info.Name, programPrefix) {
			return fmt.Errorf("%w: held by %s", ErrServed, programHolder(uint32(p.ID)))
		}
	}
	return nil
}

// syncAddrs tells the programs which addresses are the host's.
func (m *Manager) syncAddrs(addrs []netlink.Addr) error {
	now := map[wire.Addr]bool{}
	var served []netip.Addr
	for _, a := range addrs {
		ip, ok := usable(a)
		if !ok {
			continue
		}
		now[wire.AddrFrom(ip)] = true
		if d := m.devices[m.links[a.LinkIndex].name]; d != nil && d.index == a.LinkIndex {
			served = append(served, ip)
		}
	}
	for a := range m.local {
		if !now[a] {
			if err := m.kernel.Addresses.Delete(keyAddress(a)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("addresses: %w", err)
			}
		}
	}
	for a := range now {
		if !m.local[a] {
			if err := m.kernel.Addresses.Put(keyAddress(a), uint32(1)); err != nil {
				return fmt.Errorf("addresses: %w", err)
			}
		}
	}
	slices.SortFunc(served, netip.Addr.Compare)
	m.local, m.addrs = now, slices.Compact(served)
	return nil
}

// usable returns an address that connections may have. Link-local addresses of
// IPv6 are none, since they mean nothing without their device.
func usable(a netlink.Addr) (netip.Addr, bool) {
	ip, ok := netip.AddrFromSlice(a.IP)
	ip = ip.Unmap()
	if !ok || ip.IsUnspecified() || ip.IsMulticast() || ip.Is6() && ip.IsLinkLocalUnicast() {
		return ip, false
	}
	tentative := a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0
	return ip, !tentative && a.Flags&unix.IFA_F_DADFAILED == 0
}

// isLocal reports whether an address is this host's. The caller holds the lock.
func (m *Manager) isLocal(a wire.Addr) bool {
	return m.local[a] || a.Netip().IsLoopback()
}

// lookAgain is the least time between two looks for addresses that somebody asks for.
const lookAgain = 5 * time.Millisecond

// Know looks for an address of the host that is not known now, and not when the kernel's
// word of it has its turn: whoever has just given it to the host may use it. It waits for
// lookAgain and a look or two: one look does for all who had asked before it began.
func (m *Manager) Know(a wire.Addr) {
	if a.IsZero() || m.knows(a) {
		return
	}
	asked := time.Now()
	m.looking.Lock()
	defer m.looking.Unlock()
	if m.looked.After(asked) {
		return
	}
	time.Sleep(time.Until(m.looked.Add(lookAgain)))
	m.looked = time.Now()
	if err := m.place.do(m.sync); err != nil {
		m.log.Error("network devices", "err", err)
	}
}

func (m *Manager) knows(a wire.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.isLocal(a)
}

// syncPools forgets pools whose TAP has gone, or that nobody has open any more.
func (m *Manager) syncPools(links []netlink.Link) {
	alive := map[int]bool{}
	for _, l := range links {
		alive[l.Attrs().Index] = l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0 || l.Attrs().RawFlags&unix.IFF_UP == 0
	}
	for tap, p := range m.pools {
		if !alive[tap] {
			m.log.Info("a pool has gone with its processes", "vci", p.vci, "tap", p.name)
			if err := p.end(); err != nil {
				m.log.Error("network devices", "err", err)
			}
		}
	}
}
