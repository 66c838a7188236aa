package server

import "time"

// Limits on what one party can cost the host. Whoever reaches one gets the
// errno beside it, and others go on.
const (
	maxApplications   = 1200  // connections to the socket; closed at once
	spareApplications = 64    // of one user, beside one for each program that he may have
	maxChildren       = 1023  // ENFILE: a VCI has 10 bits for the stream, 0 is the server's
	maxChildrenPerUID = 512   // EMFILE; root has no such limit. Config.MaxChildren may say another
	maxBindings       = 4096  // EMFILE: ports bound by one child
	maxFlows          = 32768 // ENOBUFS: connections forwarded to one child
	maxSyns           = 128   // SYNs given to one child and not answered; more are dropped, as by a full queue
	maxPeers          = 4096  // circuits of one child whose peers learn of its death
	maxTimeWaits      = 65536 // ENOBUFS: the child keeps what is too much
	maxKept           = 1023  // circuits of one child that a successor can take over
	maxRestarts       = 20    // of a child within restartPeriod; then it has ended for good
)

// Bounds on waiting.
const (
	spawnTimeout    = 10 * time.Second       // for an application's first message
	synTimeout      = 10 * time.Second       // for a child's Divert
	relayTimeout    = 100 * time.Millisecond // for a child that does not read its frames
	relayPenalty    = time.Second            // during which frames to such a child are dropped at once
	restartPeriod   = 10 * time.Second
	takeOverTimeout = 5 * time.Second // for a child to take what is handed to it, or to hand over what it has
	exitTimeout     = 2 * time.Second // for a child that has closed its control channel to exit
	stopTimeout     = 3 * time.Second // for the children to exit after SIGTERM
	lockTimeout     = 5 * time.Second // for another server that starts at the same time
)

// Ephemeral ports, as Linux has them by default (net.ipv4.ip_local_port_range).
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
	numEphemeral   = lastEphemeral - firstEphemeral + 1
)
