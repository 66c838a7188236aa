// Package sim runs whole hosts under a virtual clock over a seeded network: both
// halves with journal and all on a real segment, programs that do what programs
// do, a network that does its worst, and checkers that look after every step. All
// happens in one goroutine and depends on nothing but the seed, so that a failure
// replays exactly.
//
//	plan      what a seed is about: which faults, how many hosts, how long
//	world     the events, in the order of the virtual clock
//	network   links that lose, double, reorder, damage, delay, clog and part
//	driver    pool.Driver over the network: packets are octets with checksums
//	host      a segment, both halves, and who of them drives
//	program   what goroutines of an application would do with a socket
//	watch     what the wire must keep to: windows
//
// After a while the network heals, programs come to their ends, and then every
// connection has to end and everything has to be given back. No rule of TCP
// belongs here that is not seen from outside: the engine checks itself.
package sim
