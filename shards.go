package usertcp

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"

	"usertcp/internal/half"
	"usertcp/internal/user"
)

// MaxShards is how many shards a program may have.
const MaxShards = user.MaxShards

// SetShards makes the program use n segments, from 1 to MaxShards, each with a lock and
// a child of its own, so that n CPUs can run its TCP at once: each connection is in one
// of them. Dial takes them in turn; Listen listens in all, where the connections' hash
// spreads them. It must be called before the first Dial or Listen (else EBUSY); without
// it $USERTCP_SHARDS says how many there are, and without that there is one.
//
// A program with several shards can't hand over a listener, nor sockets of different
// shards by one call (EXDEV).
func SetShards(n int) error {
	process.Lock()
	defer process.Unlock()
	switch {
	case n < 1 || n > MaxShards:
		return fmt.Errorf("usertcp: %d shards, where 1 to %d can be had: %w", n, MaxShards, syscall.EINVAL)
	case process.shards != nil:
		return fmt.Errorf("usertcp: the number of shards can't change any more: %w", syscall.EBUSY)
	}
	process.want = n
	return nil
}

// makeShards makes room for as many shards as are wanted, when the first is. process is
// locked.
func makeShards() error {
	if process.shards != nil {
		return nil
	}
	n := process.want
	if v := os.Getenv("USERTCP_SHARDS"); n == 0 && v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil || n < 1 || n > MaxShards {
			return fmt.Errorf("USERTCP_SHARDS=%q, where a number from 1 to %d is wanted: %w", v, MaxShards, syscall.EINVAL)
		}
	}
	process.shards = make([]*user.Stack, max(n, 1))
	return nil
}

// stacks returns the stacks of all shards.
func stacks(ctx context.Context) ([]*user.Stack, error) {
	process.Lock()
	defer process.Unlock()
	if err := makeShards(); err != nil {
		return nil, err
	}
	for i := range process.shards {
		if _, err := shard(ctx, i); err != nil {
			return nil, err
		}
	}
	return slices.Clone(process.shards), nil
}

// each does something with the listener's socket in each shard.
func (l *Listener) each(do func(*half.Socket) error) error {
	if l.all == nil {
		return do(l.sock)
	}
	for _, s := range l.all.Sockets() {
		if err := do(s); err != nil {
			return err
		}
	}
	return nil
}

// accept waits for a connection in any shard.
func (l *Listener) accept() (*half.Socket, error) {
	if l.all == nil {
		return l.sock.Accept()
	}
	return l.all.Accept()
}
