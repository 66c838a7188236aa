package tcp

// The constants of the protocol, Linux's where RFCs leave a choice.
const (
	initialRTO  = 1 * Second        // RFC 6298 (2.1)
	fallbackRTO = 3 * Second        // RFC 6298 (5.7): after a lost SYN, without a measurement
	minRTO      = 200 * Millisecond // Linux's TCP_RTO_MIN; RFC 6298 (2.4) would have 1 s
	maxRTO      = 120 * Second      // RFC 6298 (2.5): at least 60 s

	delayedAck = 40 * Millisecond // RFC 9293 MUST-58 allows 500 ms
	quickAcks  = 16               // segments acknowledged at once when a connection is young
	stretchAck = 256 << 10        // octets in order that one acknowledgement may be for, where they come together
	oddPause   = 500 * Millisecond

	timeWait    = 60 * Second // 2 MSL, as Linux counts it
	orphanWait  = 60 * Second // in FIN-WAIT-2 when nobody waits for the peer's data (tcp_fin_timeout)
	orphanTries = 8           // timeouts in a row when nobody waits for the outcome (tcp_orphan_retries 0)

	dupThreshold  = 3  // RFC 5681 section 3.2
	initialWindow = 10 // segments, RFC 6928

	minMSS      = 88   // a smaller MSS option is an attack (Linux's TCP_MIN_SND_MSS is 48)
	defaultMSS4 = 536  // RFC 9293 MUST-15, IPv4
	defaultMSS6 = 1220 // and IPv6

	minScale = 7  // as on a Linux with default limits, so that buffers can grow
	maxScale = 14 // RFC 7323 section 2.3

	// maxBuffer bounds windows far below 2^31, where sequence numbers stop having an order.
	maxBuffer = 1 << 30

	// minWindowClamp is the smallest TCP_WINDOW_CLAMP: half of Linux's smallest
	// receive buffer.
	minWindowClamp = 1152

	// RFC 5482 section 3.1 leaves the limits of what a peer may make of the user
	// timeout to the host.
	minUserTimeout = 100 * Second
	maxUserTimeout = 3600 * Second

	// pawsAge is how long a timestamp orders segments: RFC 7323 section 5.5 says 24 days.
	pawsAge = 24 * 24 * 3600 * Second
)

// Octets that options take in a header.
const (
	timestampsLen = 12 // nop nop TS
	sackHeadLen   = 4  // nop nop kind length
	sackBlockLen  = 8
	optionsLen    = 40 // most
)
