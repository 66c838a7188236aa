// Package goodput measures what the kernel's TCP makes of paths with one
// bottleneck, in real time, for comparison with the engine's table
// (internal/tcp/testdata/goodput.golden): the same paths, the same definitions.
//
//	namespace a      shaper                             namespace b
//	 sender ── tun ── queue, rate, loss, delay/2 ──► tun ── receiver
//	               ◄── delay/2 ─────────────────────
//
// A short run is a test of the shaper. The whole table is measured with
//
//	go test -exec "chrt -f 10" ./tests/goodput -run Table -update -timeout 60m
//
// where all threads go before those of other programs, or the path would not be
// what it is said to be while something else is going on.
package goodput
