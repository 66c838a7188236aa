package tcp

// urgentMark says where the peer's urgent octet is.
type urgentMark uint8

const (
	markNone  urgentMark = iota // there is none
	markAhead                   // rcvUp is beyond what the program has read
	markTaken                   // the octet was taken out of the stream and is in urgent.octet
)
