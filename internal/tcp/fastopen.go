package tcp

// fastPhase says how far a fast open (RFC 7413) has come.
type fastPhase uint8

// The phases.
const (
	fastNone     fastPhase = iota
	fastAsked              // our SYN asked for a cookie
	fastSent               // our SYN had a cookie and data
	fastAccepted           // the data was acknowledged with the SYN
	fastRefused            // it was not
)
