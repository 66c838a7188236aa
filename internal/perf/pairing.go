package perf

import "fmt"

// Pairing says which stack the two programs of a measurement use. The client is
// the one that connects, and sends in a stream test.
type Pairing struct {
	Client string `json:"client"`
	Server string `json:"server"`
}

// Alike is the pairing of a stack with itself.
func Alike(stack string) Pairing { return Pairing{stack, stack} }

// Baseline is what the other pairings are compared with.
var Baseline = Alike("kernel")

// Pairings lists all of them, the baseline first.
var Pairings = []Pairing{Baseline, Alike("user"), {"user", "kernel"}, {"kernel", "user"}}

// String is for tables and progress: "user with kernel".
func (p Pairing) String() string { return p.Client + " with " + p.Server }

// over is for errors: what the test ran over.
func (p Pairing) over() string {
	if p.Client == p.Server {
		return fmt.Sprintf("over the %s stack", p.Client)
	}
	return fmt.Sprintf("from the %s to the %s stack", p.Client, p.Server)
}
