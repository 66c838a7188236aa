package nic

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
)

// Manager serves some devices of one network namespace. Its methods may be called by
// any goroutine.
type Manager struct {
	config Config
	log    *slog.Logger
	place  *place
	routes *netlink.Handle // in the place's namespace
	pins   *pins
	kernel kernelObjects
	events *os.File // tells of changes of devices, addresses and routes
	ended  chan struct{}

	mu         sync.Mutex
	closed     bool
	devices    map[string]*device // of the configuration, by name
	hears      device             // lo, if it is not among them: of it only errors are heard
	links      map[int]linkState  // all of the namespace's
	local      map[wire.Addr]bool // what the addresses map holds
	addrs      []netip.Addr       // of the devices served
	pools      map[int]*Pool      // by number of their TAP
	complained time.Time          // when the log was last told of a route
	joiner     joiner

	looking sync.Mutex // of those who ask for an address that is not known; taken before mu
	looked  time.Time  // when the last look for one began
}

// device is one that the configuration names; index is 0 while it is not there.
type device struct {
	index int
	link  link.Link
}

// linkState is what a route needs to know of a device.
type linkState struct {
	name string
	mtu  int
}

// Open attaches to the devices, in the network namespace of the calling thread. What
// a server that is dead has left there it takes over: pools whose processes live go
// on (see Pools), the others are cleaned away. If another server has one of the devices the
// error is ErrServed and names it.
func Open(c Config) (m *Manager, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := Check(); err != nil {
		return nil, err
	}
	m = &Manager{
		config: c, log: c.Log, ended: make(chan struct{}),
		devices: map[string]*device{}, links: map[int]linkState{}, local: map[wire.Addr]bool{}, pools: map[int]*Pool{},
	}
	if m.log == nil {
		m.log = slog.Default()
	}
	for _, name := range c.Devices {
		m.devices[name] = &device{}
	}
	if m.place, err = here(); err != nil {
		return nil, err
	}
	if err := m.place.do(m.open); err != nil {
		m.abandon()
		return nil, err
	}
	go m.watch()
	return m, nil
}

func (c *Config) check() error {
	if len(c.Devices) == 0 {
		return errors.New("no device to serve")
	}
	rules := slices.Concat(c.Deny, c.Allow)
	if len(rules) > maxRules {
		return fmt.Errorf("%d rules, more than %d", len(rules), maxRules)
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

// maxRules is MAX_RULES of the programs.
const maxRules = 256

// open does what has to be done in the namespace.
func (m *Manager) open() (err error) {
	dir := m.config.Pins
	if dir == "" {
		var st unix.Stat_t
		if err := unix.Fstat(int(m.place.ns), &st); err != nil {
			return err
		}
		dir = defaultPins(st.Ino)
	}
	if m.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if m.events, err = subscribe(); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if m.pins, err = openPins(dir); err != nil {
		return err
	}
	if err := m.load(); err != nil {
		return err
	}
	if err := m.configure(); err != nil {
		return err
	}
	if err := errors.Join(m.dropJoiner(), m.adopt()); err != nil {
		return err
	}
	if err := m.sync(); err != nil {
		return err
	}
	for name, d := range m.devices {
		if d.index == 0 {
			return fmt.Errorf("device %s: %w", name, unix.ENODEV)
		}
	}
	m.advise()
	return m.heedAsks()
}

// load brings the programs and maps into the kernel; maps that are pinned are taken.
func (m *Manager) load() error {
	spec, err := loadKernel()
	if err != nil {
		return err
	}
	for _, s := range spec.Maps {
		s.Pinning = ebpf.PinByName
	}
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: m.pins.dir}}
	err = spec.LoadAndAssign(&m.kernel, options)
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		m.log.Warn("the maps of the server before are of another kind: its connections end", "pins", m.pins.dir)
		if err := m.pins.empty(); err != nil {
			return err
		}
		err = spec.LoadAndAssign(&m.kernel, options)
	}
	if err != nil {
		return fmt.Errorf("load eBPF programs: %w", err)
	}
	return nil
}

// configure writes rules and settings.
func (m *Manager) configure() error {
	for i, r := range slices.Concat(m.config.Deny, m.config.Allow) {
		if err := m.kernel.Rules.Put(uint32(i), keyRule(r)); err != nil {
			return fmt.Errorf("rules: %w", err)
		}
	}
	s := kernelSettings{Deny: uint32(len(m.config.Deny)), Allow: uint32(len(m.config.Allow))}
	if slices.Contains(m.config.Devices, loopback) {
		s.Inside = 1
	}
	if err := m.kernel.Setting.Put(uint32(0), s); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}

// loopback is the name of the device by which a host talks to itself.
const loopback = "lo"

// Addrs returns the addresses of the devices that are served, as they are now.
func (m *Manager) Addrs() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.addrs)
}

// Permit returns EACCES if the lists forbid connections with remote to a service at
// port: at the remote end if we connect, at ours if it does.
func (m *Manager) Permit(remote netip.Addr, port uint16) error {
	if permitted(m.config.Deny, m.config.Allow, remote, port) {
		return nil
	}
	return unix.EACCES
}

// Pools returns the pools that there are, those that Open has taken over among them.
func (m *Manager) Pools() []*Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*Pool
	for _, p := range m.pools {
		all = append(all, p)
	}
	return all
}

// Close ends all pools, and takes everything away that Open and NewPool have made.
func (m *Manager) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	m.events.Close()
	<-m.ended
	m.stopAsks()
	for _, p := range m.Pools() {
		p.Close()
	}
	err := m.place.do(func() error { return m.detach() })
	return errors.Join(err, m.abandon())
}

// detach takes programs and maps away.
func (m *Manager) detach() error {
	for _, d := range m.devices {
		if d.link != nil {
			d.link.Close()
		}
	}
	if m.hears.link != nil {
		m.hears.link.Close()
	}
	return errors.Join(m.dropJoiner(), m.pins.empty())
}

// abandon gives back what the process holds. What is pinned stays if pools live by it.
func (m *Manager) abandon() error {
	m.stopAsks()
	if m.pins != nil {
		m.place.do(func() error {
			if len(m.pools) == 0 {
				m.detach()
			}
			m.pins.close()
			return nil
		})
	}
	if m.events != nil {
		m.events.Close()
	}
	if m.routes != nil {
		m.routes.Close()
	}
	m.place.close()
	if m.kernel.UsertcpDemux == nil {
		return nil
	}
	return m.kernel.Close()
}
