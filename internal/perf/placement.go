package perf

import (
	"fmt"
	"strconv"

	"usertcp/internal/perf/proc"
)

// Placement says on which CPUs the two sides of a measurement run: each side's
// program, child and connection server. It is the same for both stacks, since a
// wake-up across CPUs can cost more than all the rest of a transaction.
type Placement string

const (
	Same  Placement = "same"  // both sides on one CPU
	Split Placement = "split" // each side on a CPU of its own
	Free  Placement = "free"  // wherever the scheduler likes
)

// sides are the values of the -cpus flags for the two sides; empty means all.
type sides struct {
	client, server string
}

// resolve finds the CPUs among the allowed ones.
func (p Placement) resolve() (sides, error) {
	allowed, err := proc.AllowedCPUs()
	if err != nil {
		return sides{}, err
	}
	return p.among(allowed)
}

// among is resolve without the system.
func (p Placement) among(allowed []int) (sides, error) {
	switch {
	case p == Free:
		return sides{}, nil
	case p == Same && len(allowed) > 0:
		first := strconv.Itoa(allowed[0])
		return sides{first, first}, nil
	case p == Split && len(allowed) > 1:
		return sides{strconv.Itoa(allowed[0]), strconv.Itoa(allowed[1])}, nil
	case p == Split:
		return sides{}, fmt.Errorf("placement split needs two CPUs, and this process may use %d", len(allowed))
	}
	return sides{}, fmt.Errorf("unknown placement %q (there are: same, split, free)", string(p))
}
