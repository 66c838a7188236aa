package half

import (
	"testing"

	"usertcp/internal/pool"
	"usertcp/internal/tcp"
)

// Connections to which data comes share the pool's buffers, as long as it comes.
func TestACrowdSharesTheBuffers(t *testing.T) {
	a, _ := newHosts(t, SpinOff)
	h := &a.top.Half
	all := uint32(rxBuffers * rxSize / 2)
	at := tcp.Time(1 << 40)
	come := func(n uint32, octets uint32) {
		for i := range n {
			h.now = at
			h.crowds(i, octets)
		}
	}
	for _, tc := range []struct {
		name   string
		after  tcp.Time
		n      uint32
		octets uint32
		want   uint32
	}{
		{"few", 0, crowdFew, 64 << 10, 0},
		{"sixteen", 0, 16, 1448, all / 17},
		{"the same again", 0, 16, 1448, all / 17},
		{"in the next epoch fewer", crowdEpoch, 5, 1448, all / 17},
		{"and in the one behind it", crowdEpoch, 5, 1448, all / 6},
		{"long after", 10 * crowdEpoch, 1, 1448, 0},
		{"those who ask and answer", 10 * crowdEpoch, 64, 100, 0},
		{"very many", 10 * crowdEpoch, 1000, 1448, leastShare},
	} {
		at += tc.after
		if come(tc.n, tc.octets); h.mostUnread() != tc.want {
			t.Errorf("%s: %d octets, want %d", tc.name, h.mostUnread(), tc.want)
		}
	}
}

// When buffers are in use for whatever reason nobody over a device gets more than half of
// the rest, and everybody a little; who is on a ring uses the peer's memory.
func TestWhatIsLeftOfTheBuffersIsShared(t *testing.T) {
	a, b := runBoth(t, SpinOff)
	ca, _ := connect(t, a, b)
	a.top.Change(func() {
		h := &a.top.Half
		take := func(n int) {
			for range n {
				h.rx.Alloc()
			}
		}
		if got := h.mostUnread(); got != 0 {
			t.Errorf("with nothing in use: %d octets", got)
		}
		take(rxBuffers / 2)
		want := uint32(rxBuffers * rxSize / 4)
		if got := h.mostUnread(); got != want {
			t.Errorf("with half in use: %d octets, want %d", got, want)
		}
		take(h.rx.Available())
		if got := h.mostUnread(); got != leastShare {
			t.Errorf("with all in use: %d octets, want %d", got, leastShare)
		}
		h.most = leastShare
		for circuit, want := range map[uint16]uint32{h.aux[ca.i].circuit: 0, pool.NIC: leastShare} {
			was := h.aux[ca.i].circuit
			h.aux[ca.i].circuit = circuit
			h.begin(ca.i)
			if h.aux[ca.i].circuit = was; h.mem.Unread != want {
				t.Errorf("circuit %d: %d octets, want %d", circuit, h.mem.Unread, want)
			}
			h.end(ca.i)
		}
		for i := range uint32(rxBuffers) {
			if h.rx.Refs(i) > 0 {
				h.rx.Unref(i)
			}
		}
	})
}
