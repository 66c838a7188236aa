package user

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// serverPause is how often a program that waits for a server looks for one.
const serverPause = 20 * time.Millisecond

// serverWait is how long calls that need the connection server wait for one that
// is not there, say because it is being restarted: $USERTCP_WAIT, a duration as
// time.ParseDuration reads it; 0, the default, means that they fail at once.
func serverWait() time.Duration {
	d, err := time.ParseDuration(os.Getenv("USERTCP_WAIT"))
	if err != nil {
		return 0
	}
	return d
}

// awaitServer calls try, and again as long as the error says that there is no
// server and serverWait and ctx allow it.
func awaitServer(ctx context.Context, try func() error) error {
	err := try()
	if !noServerYet(err) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, serverWait())
	defer cancel()
	for noServerYet(err) {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(serverPause):
		}
		err = try()
	}
	return err
}

// noServerYet reports whether an error means that no server is there: nobody
// listens at its socket, or a child has lost its own.
func noServerYet(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTDOWN)
}
