package tcp

import "usertcp/internal/seq"

// delivery is how much has been delivered, and how fast.
type delivery struct {
	delivered uint64 // octets that are known to have arrived
	at        Time   // when delivered grew last
	firstSent Time   // when the segment was sent that was acknowledged last
	limited   uint64 // the program limits the rate until delivered has come here
	paceAt    Time   // when the next segment may leave, if there is a pace
	pace      uint64 // octets a second, 0 for no pacing
	marks     [4]mark
	first, n  uint8 // of marks, which is a ring
	_         [6]uint8
}

// mark is what held when a segment was sent.
type mark struct {
	end       seq.Number // of the segment
	delivered uint32     // delivery.delivered, modulo 2^32
	sent      Time       // when the segment was sent
	quiet     uint32     // from delivery.at to sent, in units of 16 ns
	span      uint32     // from delivery.firstSent to sent, in units of 16 ns
	lost      uint32     // congestion.lost
	flight    uint32     // octets in flight, the segment included; top bit: limited by the program
}
