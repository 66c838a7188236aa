package tcp

import "testing"

func TestInfo(t *testing.T) {
	a := established(t, withTimestamps, withSACK, withScale)
	a.write(500)
	a.drain()
	a.write(200)
	a.advance(3 * Millisecond)
	a.inject(sPA, 1, 1, 100)
	i := a.c.Info(a.now)
	type fact struct {
		name      string
		got, want any
	}
	for _, f := range []fact{
		{"state", i.State, Established},
		{"options", i.Timestamps && i.SACK && i.WindowScaling, true},
		{"sndScale", i.SndScale, uint8(3)},
		{"rcvScale", i.RcvScale, a.c.rcv.scale},
		{"srtt", i.RTT, 10 * Millisecond},
		{"minRTT in ms", i.MinRTT / Millisecond, Time(9)},
		{"sacked and lost", i.Sacked + i.Lost, uint32(0)},
		{"unacked", i.Unacked, uint32(500)},
		{"notSent", i.NotSent, uint32(200)},
		{"unread", i.Unread, uint32(100)},
		{"lastDataSent", i.LastDataSent, 3 * Millisecond},
		{"lastAckRecv", i.LastAckRecv, Time(0)},
		{"sndMSS", i.SndMSS, uint32(988)},
		{"dataSegsOut", i.DataSegsOut, uint32(1)},
		{"dataSegsIn", i.DataSegsIn, uint32(1)},
		{"bytesSent", i.BytesSent, uint64(500)},
		{"bytesIn", i.BytesIn, uint64(100)},
		{"congestion", i.Congestion, CongestionName(a.c.Opt.Congestion)},
	} {
		if f.got != f.want {
			t.Errorf("%s is %v, want %v", f.name, f.got, f.want)
		}
	}
	if i.RcvWnd == 0 || i.SndWnd == 0 || i.Cwnd == 0 || i.RTO < minRTO {
		t.Errorf("windows and RTO: %+v", i)
	}
}

func TestInfoCountsWhatIsSentAgain(t *testing.T) {
	a := established(t)
	a.write(500)
	a.drain()
	a.advance(a.c.RTO())
	a.want(sPA, 1, 1, 500)
	i := a.c.Info(a.now)
	if i.BytesSent != 1000 || i.BytesResent != 500 || i.Retransmits != 1 || i.Backoff != 1 {
		t.Errorf("sent %d, again %d, retransmits %d, backoff %d", i.BytesSent, i.BytesResent, i.Retransmits, i.Backoff)
	}
}

func TestInfoOfAConnectionThatIsNone(t *testing.T) {
	var c Conn
	if i := c.Info(Second); i.State != Closed || i.Unacked != 0 || i.NotSent != 0 || i.LastDataSent != 0 {
		t.Errorf("%+v", i)
	}
}
