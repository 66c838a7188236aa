// Package tcp is the engine: TCP (RFC 9293) as a pure state machine. Segments,
// calls of the program and the time go in; segments to send, events for the
// program and the next deadline come out.
//
// A Conn is a struct of fixed layout, without pointers, that the caller places:
// in a segment of memory that two processes share, or on the heap in a test. A
// step (any exported method of Conn that takes the time) changes one Conn and
// may be undone by putting back a copy that was taken before: see queue.go for
// what that asks of the queues of chunks.
//
// A connection is a list of small named states, one file each: sender, receiver,
// reassembly, rtt, loss, congestion, timers. input.go holds the switch on the
// state for arriving segments, output.go the one for departing segments.
//
// Commit, then emit: NextSegment changes the state before it hands out the
// segment. What was committed but never reached the wire is found by the
// retransmission timer, like any loss.
//
// No clock, goroutine, lock, system call, I/O, allocation or pointer to payload
// belongs here, and nothing of the operating system.
package tcp
