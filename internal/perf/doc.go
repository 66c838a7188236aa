// Package perf measures TCP between two programs, the way netperf does, over any
// stack that can dial and listen: user-space TCP and the kernel's are measured by
// the same code.
//
// One program listens (Server), the other runs a test against it (Client). They
// first talk over a control connection, which goes over the stack under test as
// well, in lines of JSON (message.go), and then open the data connections:
//
//	client                          server
//	  │ setup {test, size, …}  ──►    │ listens for data on a new port
//	  │ ◄──  offer {data address}     │
//	  │ data connections      ══►     │ accepts them
//	  │ ◄──  ready                    │
//	  │ both: warm up, measure        │ (nobody reads the control connection
//	  │ data connections are closed   │  meanwhile: a sleeper in Read would
//	  │ done {totals}          ──►    │  take part in user-space TCP's work)
//	  │ ◄──  result                   │
//
// A throughput is what the receiver received in its own measured time, without
// the warm-up. Sent and received totals are compared: a lost or invented octet
// fails the measurement.
//
// Above that, Runner starts both programs as processes of their own, and Compare
// does so in turns for the two stacks. Over network devices (Runner.StartLink) each
// stack talks with each, and CompareLink takes them in turns.
//
// Flags and printing of single commands belong to cmd/usertcp; a stack's own
// options must not go in here either.
package perf
