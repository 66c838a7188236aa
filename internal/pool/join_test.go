package pool

import (
	"testing"

	"usertcp/internal/shm"
)

// fake is a driver that says what it was asked.
type fake struct {
	Driver
	name    string
	calls   []string
	arrived int
	ready   bool
}

func (f *fake) note(s string) { f.calls = append(f.calls, s) }

func (f *fake) Execute(ops []Op)  { Perform(f, ops) }
func (f *fake) Crossings() uint64 { return 3 }

func (f *fake) MayRefuse(uint16) bool { f.note("refuse"); return true }

func (f *fake) Receive(p *Packet) bool {
	f.note("receive")
	if f.arrived == 0 {
		return false
	}
	f.arrived--
	return true
}

func (f *fake) Release(uint16, uint32, int)   { f.note("release") }
func (f *fake) Changed() bool                 { f.note("changed"); return f.ready }
func (f *fake) Mapped(uint16) bool            { f.note("mapped"); return true }
func (f *fake) Usable(uint16) bool            { f.note("usable"); return true }
func (f *fake) Crowded(uint16) bool           { f.note("crowded"); return true }
func (f *fake) Use(uint16, int)               { f.note("use") }
func (f *fake) Room(uint16) int               { f.note("room"); return 1 }
func (f *fake) Backlog(uint16) int            { f.note("backlog"); return 1 }
func (f *fake) Send(*Packet) bool             { f.note("send"); return true }
func (f *fake) Flush(*shm.Rings)              { f.note("flush") }
func (f *fake) Pending() bool                 { f.note("pending"); return f.ready }
func (f *fake) Glance() bool                  { f.note("glance"); return f.ready }
func (f *fake) Arm() bool                     { f.note("arm"); return f.ready }
func (f *fake) Awake()                        { f.note("awake") }
func (f *fake) Notify(uint16, bool, bool)     { f.note("notify") }
func (f *fake) Notice()                       { f.note("notice") }
func (f *fake) Alloc(uint16) (uint32, uint32) { f.note("alloc"); return 0, 0 }
func (f *fake) Ref(uint16, uint32)            { f.note("ref") }
func (f *fake) Unref(uint16, uint32)          { f.note("unref") }
func (f *fake) BufferSize() int               { return len(f.name) }
func (f *fake) Octets(uint16) []byte          { f.note("octets"); return nil }
func (f *fake) InUse() (tx, held int)         { return 1, 2 }
func (f *fake) Memory() uint64                { return 7 }
func (f *fake) Spare(uint16) bool             { return f.ready }
func (f *fake) Rebuild(_, _ func(uint16, uint32) uint32) {
	f.note("rebuild")
}

func (f *fake) Recount(func(uint16) uint32) { f.note("recount") }

func joined() (j *Joint, ring, nic *fake) {
	ring, nic = &fake{name: "one"}, &fake{name: "two"}
	return Join(ring, nic), ring, nic
}

// Each call goes to the driver whose circuit it is about, and to no other.
func TestJointAsksTheRightDriver(t *testing.T) {
	calls := map[string]func(j *Joint, circuit uint16){
		"release": func(j *Joint, c uint16) { j.Execute([]Op{{Kind: OpFree, Region: RxRegion(c), N: 1}}) },
		"mapped":  func(j *Joint, c uint16) { j.Mapped(c) },
		"usable":  func(j *Joint, c uint16) { j.Usable(c) },
		"crowded": func(j *Joint, c uint16) { j.Crowded(c) },
		"use":     func(j *Joint, c uint16) { j.Use(c, 1) },
		"room":    func(j *Joint, c uint16) { j.Room(c) },
		"backlog": func(j *Joint, c uint16) { j.Backlog(c) },
		"send":    func(j *Joint, c uint16) { j.Execute([]Op{{Kind: OpSend, Packet: &Packet{Circuit: c}}}) },
		"refuse":  func(j *Joint, c uint16) { j.MayRefuse(c) },
		"notify":  func(j *Joint, c uint16) { j.Notify(c, true, false) },
		"alloc":   func(j *Joint, c uint16) { j.Execute([]Op{{Kind: OpAlloc, Circuit: c}}) },
		"ref":     func(j *Joint, c uint16) { j.Ref(TxRegion(c), 0) },
		"unref":   func(j *Joint, c uint16) { j.Execute([]Op{{Kind: OpFree, Region: TxRegion(c)}}) },
		"octets":  func(j *Joint, c uint16) { j.Octets(RxRegion(c)) },
	}
	for name, call := range calls {
		for _, c := range []uint16{0, NIC - 1, NIC} {
			j, ring, nic := joined()
			call(j, c)
			mine, other := ring, nic
			if c == NIC {
				mine, other = nic, ring
			}
			if len(mine.calls) != 1 || mine.calls[0] != name || len(other.calls) != 0 {
				t.Errorf("%s of circuit %d: %v and %v", name, c, ring.calls, nic.calls)
			}
		}
	}
}

// What is about no circuit is about both, even if one has answered.
func TestJointAsksBoth(t *testing.T) {
	for name, call := range map[string]func(j *Joint){
		"changed": func(j *Joint) { j.Changed() },
		"flush":   func(j *Joint) { j.Flush(nil) },
		"arm":     func(j *Joint) { j.Arm() },
		"awake":   func(j *Joint) { j.Awake() },
		"notice":  func(j *Joint) { j.Notice() },
		"rebuild": func(j *Joint) { j.Rebuild(nil, nil) },
	} {
		j, ring, nic := joined()
		ring.ready, nic.ready = true, true
		call(j)
		if len(ring.calls) != 1 || len(nic.calls) != 1 {
			t.Errorf("%s: %v and %v", name, ring.calls, nic.calls)
		}
	}
	j, ring, nic := joined()
	for _, f := range []*fake{ring, nic} {
		f.ready = true
		if !j.Pending() || !j.Arm() || !j.Changed() {
			t.Errorf("%s has something, and the pool does not know", f.name)
		}
		f.ready = false
	}
	if tx, held := j.InUse(); tx != 2 || held != 4 {
		t.Errorf("%d buffers and %d pieces in use", tx, held)
	}
	ring.ready = true
	if n := j.Memory(); n != 14 || !j.Spare(3) || j.Spare(NIC) {
		t.Errorf("%d octets in use, want 14; spare %v and %v", n, j.Spare(3), j.Spare(NIC))
	}
}

// take receives one packet.
func take(j *Joint, p *Packet) bool {
	ops := []Op{{Kind: OpReceive, Packet: p}}
	j.Execute(ops)
	return ops[0].Done
}

// Neither driver keeps the other from being heard.
func TestJointTakesTurns(t *testing.T) {
	j, ring, nic := joined()
	ring.arrived, nic.arrived = 1000, 1000
	var p Packet
	for range 10 * (jointBurst + 1) {
		if !take(j, &p) {
			t.Fatal("nothing received")
		}
	}
	if ring.arrived != 1000-10*jointBurst || nic.arrived != 990 {
		t.Errorf("%d of the ring's and %d of the devices' left", ring.arrived, nic.arrived)
	}
	ring.arrived = 0
	for range nic.arrived {
		if !take(j, &p) {
			t.Fatal("the devices' packets are not received while the ring is quiet")
		}
	}
	if take(j, &p) {
		t.Error("received from nowhere")
	}
}

func TestJoinedDriversHaveBuffersOfOneSize(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Join(&fake{name: "short"}, &fake{name: "longer"})
}

// After a death both count their users anew, if they count any; the halves find this
// method by its name.
func TestJointHasUsersCountedAnew(t *testing.T) {
	j, ring, nic := joined()
	var d Driver = j
	d.(interface {
		Recount(users func(circuit uint16) uint32)
	}).Recount(func(uint16) uint32 { return 0 })
	for _, f := range []*fake{ring, nic} {
		if len(f.calls) == 0 || f.calls[len(f.calls)-1] != "recount" {
			t.Errorf("%s: %v", f.name, f.calls)
		}
	}
}
