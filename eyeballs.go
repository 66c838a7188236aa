package usertcp

import (
	"context"
	"net"
	"time"

	"usertcp/internal/wire"
)

// attemptDelay is how long an attempt to connect has before the next address is tried
// beside it: the recommended Connection Attempt Delay of RFC 8305 section 8.
const attemptDelay = 250 * time.Millisecond

// dialEnd connects to one of the ends.
type dialEnd func(context.Context, wire.Endpoint) (net.Conn, error)

// attempt is how a dialEnd has come out.
type attempt struct {
	which int
	conn  net.Conn
	err   error
}

// race connects to one of several ends, and returns the first connection there is: each
// end is tried when the attempt before it has failed, or has taken longer than delay, and
// those before it go on ("Happy Eyeballs", RFC 8305 section 5). With a negative delay one
// is tried after the other. The error is that of the first end which has failed, in
// their order.
func race(ctx context.Context, ends []wire.Endpoint, delay time.Duration, dial dialEnd) (net.Conn, error) {
	if len(ends) == 1 {
		return dial(ctx, ends[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt, len(ends))
	begun := 0
	begin := func() <-chan time.Time {
		which := begun
		begun++
		go func() {
			c, err := dial(ctx, ends[which])
			results <- attempt{which, c, err}
		}()
		if delay < 0 || begun == len(ends) {
			return nil
		}
		return time.After(delay)
	}
	first := attempt{which: len(ends)}
	late := begin()
	for over := 0; over < begun; {
		select {
		case <-late:
			late = begin()
		case r := <-results:
			over++
			if r.err == nil {
				go discard(results, begun-over)
				return r.conn, nil
			}
			if r.which < first.which {
				first = r
			}
			if begun < len(ends) && ctx.Err() == nil {
				late = begin()
			}
		}
	}
	return nil, first.err
}

// discard closes what n attempts that are not needed any more come to.
func discard(results <-chan attempt, n int) {
	for range n {
		if r := <-results; r.conn != nil {
			r.conn.Close()
		}
	}
}

// interleave puts addresses of the two families in turns, and leaves the order within
// each and the family of the first, so that a family that does not work costs one attempt
// only (RFC 8305 section 4, with a First Address Family Count of 1).
func interleave(ends []wire.Endpoint) []wire.Endpoint {
	var families [2][]wire.Endpoint
	for _, e := range ends {
		k := 0
		if e.Addr.Is4() != ends[0].Addr.Is4() {
			k = 1
		}
		families[k] = append(families[k], e)
	}
	out := make([]wire.Endpoint, 0, len(ends))
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				out = append(out, f[i])
			}
		}
	}
	return out
}
