package sim

import (
	"fmt"

	"usertcp/internal/tcp"
)

// Total sums up results.
type Total struct {
	Seeds   int
	Virtual float64 // seconds
	Result
}

// Add adds a result.
func (t *Total) Add(r *Result) {
	t.Seeds++
	t.Virtual += float64(r.Virtual) / float64(tcp.Second)
	t.Packets += r.Packets
	t.Octets += r.Octets
	t.Failed += r.Failed
	t.Repairs += r.Repairs
	t.Urgent += r.Urgent
	t.Marks += r.Marks
}

// String is a line about all of them.
func (t *Total) String() string {
	return fmt.Sprintf("%d seeds, %.0f s of virtual time, %d packets, %d octets, %d repairs, %d ends of connections with an error that had a cause",
		t.Seeds, t.Virtual, t.Packets, t.Octets, t.Repairs, t.Failed)
}
