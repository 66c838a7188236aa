package tcp

import (
	"testing"

	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

// fuzzer plays a script of octets to a connection: what the peer sends, what the
// program calls, and how time passes.
type fuzzer struct {
	end
	t    testing.TB
	now  Time
	code []byte
}

func (f *fuzzer) more() bool { return len(f.code) > 0 }

// byte returns the next octet of the script, zero at its end.
func (f *fuzzer) byte() byte {
	if len(f.code) == 0 {
		return 0
	}
	b := f.code[0]
	f.code = f.code[1:]
	return b
}

// near returns a number of the script that is often close to zero.
func (f *fuzzer) near() int {
	switch b := int(int8(f.byte())); {
	case b < -100:
		return (b + 100) * 997
	case b > 100:
		return (b - 100) * 997
	default:
		return b
	}
}

func (f *fuzzer) do(what string, g func(m *Memory)) {
	f.step(f.t, what, func() { g(&f.st.m) })
}

// segment makes up a segment near what the connection expects.
func (f *fuzzer) segment() Segment {
	n := uint32(f.byte())
	if n > 128 {
		n = (n - 128) * 20
	}
	seg := Segment{
		Seq:    f.c.rcv.nxt + seq.Number(f.near()),
		Ack:    f.c.snd.una + seq.Number(f.near()),
		Flags:  wire.Flags(f.byte()),
		Window: uint16(f.byte()) << (f.byte() % 9),
	}
	if seg.Flags&0xc0 == 0 {
		seg.Flags |= wire.ACK // mostly
	}
	seg.Options.Present = wire.OptionSet(f.byte())
	seg.Urgent, seg.ECN = uint16(seg.Window>>3), uint8(seg.Seq)&3
	seg.Options.UserTimeout = seg.Window
	if f.c.has(flagTimestamps) {
		seg.Options.Present ^= wire.HasTimestamps
	}
	seg.Options.MSS = uint16(f.byte()) << 4
	seg.Options.WindowScale = f.byte()
	seg.Options.TSVal = f.c.rcv.tsRecent + uint32(f.near())
	seg.Options.TSEcr = f.c.tsNow(f.now) - uint32(f.near())
	if piece := 1 + int(f.byte())*8; int(n)/piece+2 < len(f.st.free) {
		seg.Len = n
		seg.Payload = f.st.put(pattern(0, int(n)), piece)
	}
	return seg
}

// urgent plays what a program does with urgent data.
func (f *fuzzer) urgent() {
	before, here, _ := f.c.Urgent()
	switch f.byte() % 3 {
	case 0:
		f.do("SendUrgent", func(*Memory) { f.c.SendUrgent(f.now) })
	case 1:
		f.do("UrgentSeen", func(*Memory) { f.c.UrgentSeen() })
	default:
		if here && before == 0 {
			f.do("SkipUrgent", func(m *Memory) { f.c.SkipUrgent(m, f.now, 'u') })
		}
	}
}

// icmp plays what routers say of a segment near those in flight.
func (f *fuzzer) icmp() {
	quoted := f.c.snd.una + seq.Number(f.near())
	if f.byte()%4 == 0 {
		f.do("Unreachable", func(m *Memory) { f.c.Unreachable(m, f.now, Error(1+f.byte()%8), quoted) })
		return
	}
	mtu := uint32(f.byte()) << 3
	if mtu&8 != 0 {
		f.do("RouteMTU", func(m *Memory) { f.c.RouteMTU(m, f.now, mtu<<2) })
		return
	}
	f.do("PathMTU", func(m *Memory) { f.c.PathMTU(m, f.now, mtu, quoted) })
}

func (f *fuzzer) play() {
	switch op := f.byte() % 20; op {
	case 0, 1, 2, 3, 4:
		seg := f.segment()
		f.do("Input", func(m *Memory) {
			if seg.More = seg.Len%4 == 1; seg.Len%4 > 1 {
				f.c.InputRead(m, f.now, &seg, 1+seg.Len/2)
			} else {
				f.c.Input(m, f.now, &seg)
			}
		})
		f.st.give(seg.Payload)
	case 5:
		q := f.st.put(pattern(0, min(int(f.byte())*8, len(f.st.free)*slot/8)), slot)
		f.do("Append", func(m *Memory) { f.c.Append(m, f.now, q) })
	case 6:
		if f.c.sends() && f.c.SndQ.Count > 0 {
			if room := slot - f.st.m.Chunks[f.c.SndQ.Tail].Len; room > 0 {
				f.do("Extend", func(m *Memory) { f.c.Extend(m, f.now, 1+uint32(f.byte())%room) })
			}
		}
	case 7:
		n, _ := f.c.Readable()
		f.do("Consume", func(m *Memory) { f.c.Consume(m, f.now, min(n, uint32(f.byte())*4)) })
	case 8, 9:
		f.now += Time(f.byte()) * Millisecond << (f.byte() % 11)
		f.do("Timeout", func(m *Memory) { f.c.Timeout(m, f.now) })
	case 10:
		f.options()
	case 11:
		f.ending()
	case 12:
		f.urgent()
	case 13:
		f.icmp()
	default:
		f.output()
	}
}

func (f *fuzzer) options() {
	o := &f.c.Opt
	b := f.byte()
	o.NoDelay, o.Cork, o.QuickAck, o.KeepAlive = b&1, b>>1&1, b>>2&1, b>>3&1
	o.UserTimeout = uint32(b>>4) * 100
	k := uint32(f.byte())
	f.c.SetOffload(uint32(b) * uint32(b))
	o.LeastTrain = b >> 2
	o.NotSentLowat, o.WindowClamp, o.UrgentInline = k&7*300, k>>3&7*700, uint8(k>>6&1)
	f.do("OptionsChanged", func(*Memory) { f.c.OptionsChanged(f.now) })
	if k>>7 != 0 {
		f.do("MoreComes", func(*Memory) { f.c.MoreComes() })
	} else {
		f.do("Push", func(*Memory) { f.c.Push() })
	}
}

// ending lets the program close in one way or the other, but not too soon.
func (f *fuzzer) ending() {
	switch f.byte() {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		f.do("Shutdown", func(m *Memory) { f.c.Shutdown(m, f.now) })
	case 8, 9:
		f.do("CloseRead", func(m *Memory) { f.c.CloseRead(m, f.now) })
	case 10, 11:
		f.do("Close", func(m *Memory) { f.c.Close(m, f.now) })
	case 12:
		f.do("Abort", func(m *Memory) { f.c.Abort(m, f.now) })
	case 13:
		f.do("Fail", func(m *Memory) { f.c.Fail(m, f.now, ErrCorrupt) })
	}
}

func (f *fuzzer) output() {
	for n := 0; ; n++ {
		if n > 3000 {
			f.t.Fatal("segments without end")
		}
		var out Segment
		more := false
		f.do("NextSegment", func(m *Memory) { more = f.c.NextSegment(m, f.now, &out) })
		if !more {
			return
		}
		if out.SegSize != 0 && (out.SegSize >= out.Len || out.SegSize > f.c.snd.mss) {
			f.t.Fatalf("a train of %d octets in segments of %d", out.Len, out.SegSize)
		}
		if out.Len > 0 {
			if got := len(f.st.read(out.First, out.Skip, out.Len)); got != int(out.Len) {
				f.t.Fatalf("a segment of %d octets has %d", out.Len, got)
			}
		}
	}
}

func newFuzzer(t testing.TB, code []byte) *fuzzer {
	f := &fuzzer{t: t, now: 10 * Second, code: code}
	f.st = newStore(700)
	how := f.byte()
	o := DefaultOptions()
	o.Timestamps, o.SACK, o.WindowScaling = how&1, how>>1&1, how>>2&1
	o.RcvBuf = 1000 + uint32(f.byte())*64
	o.SndBuf = 1000 + uint32(f.byte())*64
	o.ECN, o.MTUProbe, o.UserTimeoutOption = 1+how%5, (how>>4)%3, how>>5&1
	f.c.Opt = o
	if how&0x80 == 0 {
		syn := f.segment()
		f.st.give(syn.Payload)
		syn.Flags = wire.SYN
		f.do("OpenPassive", func(m *Memory) { f.c.OpenPassive(m, f.now, testFlow, ourISS, &o, &syn) })
	} else {
		f.do("OpenActive", func(m *Memory) { f.c.OpenActive(m, f.now, testFlow, ourISS) })
	}
	f.output()
	if how&0x40 == 0 {
		f.establish()
	}
	return f
}

// establish ends the handshake as a well-behaved peer would.
func (f *fuzzer) establish() {
	seg := Segment{Seq: f.c.rcv.nxt, Ack: f.c.snd.nxt, Flags: wire.ACK, Window: 30000}
	if f.c.State == SynSent {
		seg.Flags |= wire.SYN
		seg.Options.Present = wire.HasMSS
		seg.Options.MSS = 100 + uint16(f.byte())
	}
	if f.c.has(flagTimestamps) {
		seg.Options.Present |= wire.HasTimestamps
		seg.Options.TSVal = f.c.rcv.tsRecent
	}
	f.do("handshake", func(m *Memory) { f.c.Input(m, f.now, &seg) })
}

// FuzzSegments holds the invariants, and that each step can be undone, for
// whatever a peer and a program do; and that in the end no chunk is lost.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, 50, 50})
	f.Add([]byte{0x87, 10, 10, 100, 5, 255, 12, 0, 20, 0, 0, 16, 100, 3, 0, 0, 0, 0, 0, 12, 11, 0, 12})
	f.Add([]byte{0x07, 90, 90, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 30, 20, 0, 16, 50, 2, 0, 30, 40, 0, 16, 50, 2})
	f.Add([]byte{0xc1, 0, 0, 0, 0, 0, 0, 18, 99, 8, 2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 600 {
			return
		}
		x := newFuzzer(t, code)
		for x.more() {
			x.play()
		}
		x.do("Abort", func(m *Memory) { x.c.Abort(m, x.now) })
		x.do("Close", func(m *Memory) { x.c.Close(m, x.now) })
		if len(x.st.free) != len(x.st.m.Chunks) {
			t.Errorf("%d chunks are lost", len(x.st.m.Chunks)-len(x.st.free))
		}
	})
}
