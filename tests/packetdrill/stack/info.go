package stack

import (
	"encoding/binary"

	"usertcp/internal/tcp"
)

// infoLen is the length of Linux's struct tcp_info; what is not known is zero.
const infoLen = 280

// linuxStates are the kernel's numbers for the states.
var linuxStates = map[tcp.State]byte{
	tcp.Established: 1, tcp.SynSent: 2, tcp.SynReceived: 3, tcp.FinWait1: 4, tcp.FinWait2: 5, tcp.TimeWait: 6,
	tcp.Closed: 7, tcp.CloseWait: 8, tcp.LastAck: 9, tcp.Listen: 10, tcp.Closing: 11,
}

// Bits of tcpi_options.
const (
	optTimestamps = 1 << iota
	optSACK
	optScaling
	optECN
	optECNSeen
	optSynData
)

// congestionState returns tcpi_ca_state: open, disorder, recovery or loss.
func congestionState(r *tcp.RecoveryInfo) byte {
	switch {
	case r.TimedOut:
		return 4
	case r.Recovering:
		return 3
	case r.Disorder:
		return 1
	}
	return 0
}

// lostOctets returns what Linux counts as lost: what was sent again stays so until
// it has arrived.
func lostOctets(r *tcp.RecoveryInfo) uint32 {
	if r.Recovering || r.TimedOut {
		return r.Lost + r.Again
	}
	return r.Lost
}

// delivered returns tcpi_delivered: segments, of which our SYN is one. Data in it
// (of Fast Open) counts for it.
func delivered(i *tcp.Info, segments func(octets uint32) uint32) uint32 {
	n := segments(uint32(i.Delivered))
	if i.State.Synchronized() && !i.FastOpen {
		n++
	}
	return n
}

// encodeInfo lays a connection's state out as struct tcp_info: times in µs (some
// in ms), windows of congestion control in segments.
func encodeInfo(i *tcp.Info) []byte {
	b := make([]byte, infoLen)
	b[0] = linuxStates[i.State]
	b[1] = congestionState(&i.Recovery)
	b[2], b[3], b[4] = i.Retransmits, i.Probes, i.Backoff
	for bit, on := range map[byte]bool{optTimestamps: i.Timestamps, optSACK: i.SACK, optScaling: i.WindowScaling,
		optECN: i.ECN, optECNSeen: i.ECNSeen, optSynData: i.FastOpen} {
		if on {
			b[5] |= bit
		}
	}
	b[6] = i.SndScale&0xf | i.RcvScale<<4
	b[7] = byte(i.FastOpenFail) << 1
	mss := max(i.SndMSS, 1)
	segments := func(octets uint32) uint32 { return (octets + mss - 1) / mss }
	us := func(t tcp.Time) uint32 { return uint32(t / tcp.Microsecond) }
	ms := func(t tcp.Time) uint32 { return uint32(t / tcp.Millisecond) }
	us64 := func(t tcp.Time) uint64 { return uint64(t / tcp.Microsecond) }
	ssthresh := i.Ssthresh / mss
	if i.Ssthresh >= 1<<30 {
		ssthresh = 0x7fffffff // never reduced
	}
	for at, v := range map[int]uint32{
		8: us(i.RTO), 12: us(i.ATO), 16: i.SndMSS, 20: i.RcvMSS,
		24: segments(i.Unacked), 28: segments(i.Recovery.Sacked), 32: segments(lostOctets(&i.Recovery)),
		36: segments(i.Recovery.Again),
		44: ms(i.LastDataSent), 52: ms(i.LastDataRecv), 56: ms(i.LastAckRecv),
		60: i.PathMTU, 64: i.RcvSsthresh, 68: us(i.RTT), 72: us(i.RTTVar),
		76: ssthresh, 80: i.Cwnd / mss, 84: i.AdvMSS, 88: max(3, segments(i.Recovery.Late)),
		92: us(i.ReceiverRTT), 96: i.RcvSpace, 100: i.Resent,
		136: uint32(i.SegsOut), 140: uint32(i.SegsIn), 144: i.NotSent, 148: us(i.MinRTT),
		152: i.DataSegsIn, 156: i.DataSegsOut,
		192: delivered(i, segments), 196: i.ECNDelivered.CE, 216: i.DSACKs, 224: i.OutOfOrder, 228: i.SndWnd, 232: i.RcvWnd,
		248: i.ECNReceived.CE,
		252: i.ECNDelivered.ECT1Bytes, 256: i.ECNDelivered.ECT0Bytes, 260: i.ECNDelivered.CEBytes,
		264: i.ECNReceived.ECT1Bytes, 268: i.ECNReceived.ECT0Bytes, 272: i.ECNReceived.CEBytes,
	} {
		binary.NativeEndian.PutUint32(b[at:], v)
	}
	for at, v := range map[int]uint64{104: i.PacingRate, 120: i.BytesAcked, 128: i.BytesIn,
		168: us64(i.Busy), 176: us64(i.WindowLimited), 184: us64(i.BufferLimited), 200: i.BytesSent, 208: i.BytesResent} {
		binary.NativeEndian.PutUint64(b[at:], v)
	}
	return b
}
