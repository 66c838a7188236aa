package tcp

import "testing"

// writeAll writes as a program does that does not wait, at most n octets, and
// returns how many were taken.
func (tk *talk) writeAll(n int) (taken int) {
	tk.t.Helper()
	for taken < n {
		k := min(n-taken, int(tk.c.SendSpace()))
		if k == 0 {
			break
		}
		tk.write(k)
		tk.drain()
		taken += k
	}
	return taken
}

// The figures are those of Linux 6: a window of 32,000 octets, segments of 1,000,
// an initial window of 10 segments.
func TestWholeTrainsAreTakenFromTheProgram(t *testing.T) {
	for _, x := range []struct {
		what      string
		low, most uint32
		write     int
		want      int
	}{
		{"the buffer's end lies in a train", 0, 50000, 59000, 58000},
		{"a low mark that ten segments reach", 4000, 1 << 20, 59000, 26000},
		{"a small buffer", 0, 1000, 59000, 26000},
		{"enough room", 0, 1 << 20, 59000, 59000},
	} {
		a := established(t, option(func(o *ConnOptions) { o.SndBuf, o.NotSentLowat = x.most, x.low }))
		a.c.SetOffload(64000)
		a.inject(sA, 1, 1, 0, window(32000))
		a.c.snd.maxWnd = 32000
		if got := a.writeAll(x.write); got != x.want {
			t.Errorf("%s: %d octets were taken, want %d", x.what, got, x.want)
		}
	}
}

func TestWriterGoesOnWhenAThirdIsFree(t *testing.T) {
	a := established(t, option(func(o *ConnOptions) { o.SndBuf = 3000 }))
	for _, x := range []struct {
		ack  int
		want bool
	}{{1, false}, {1000, false}, {1001, true}} {
		if x.ack == 1 {
			a.write(3000)
			a.drain()
		} else {
			a.inject(sA, 1, x.ack, 0)
		}
		if got := a.c.Writable(); got != x.want {
			t.Errorf("acknowledged to %d: %v", x.ack, got)
		}
	}
}

func TestLargerWindowIsNewsOnlyToWhoWaits(t *testing.T) {
	a := established(t)
	before := a.c.Opt.RcvBuf
	a.change(func(o *ConnOptions) { o.RcvBuf = 4 * before })
	a.wantNone()
}
