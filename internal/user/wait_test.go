package user

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCallsWaitForAServerAsConfigured(t *testing.T) {
	absent := fmt.Errorf("no server: %w", unix.EHOSTDOWN)
	tries := 0
	try := func(n int, then error) func() error {
		tries = 0
		return func() error {
			if tries++; tries < n {
				return absent
			}
			return then
		}
	}
	check := func(what string, err, want error, n int) {
		t.Helper()
		if !errors.Is(err, want) || tries != n {
			t.Errorf("%s: %v after %d tries, want %v after %d", what, err, tries, want, n)
		}
	}
	ctx := context.Background()
	check("without the option", awaitServer(ctx, try(2, nil)), absent, 1)
	t.Setenv("USERTCP_WAIT", "10s")
	check("a server that comes", awaitServer(ctx, try(3, nil)), nil, 3)
	check("another error", awaitServer(ctx, try(2, unix.EADDRINUSE)), unix.EADDRINUSE, 2)
	t.Setenv("USERTCP_WAIT", "30ms")
	if err := awaitServer(ctx, try(1000, nil)); !errors.Is(err, unix.EHOSTDOWN) || tries < 2 || tries > 4 {
		t.Errorf("%v after %d tries within 30 ms", err, tries)
	}
	t.Setenv("USERTCP_WAIT", "1h")
	ctx, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	if err := awaitServer(ctx, try(1000, nil)); !errors.Is(err, unix.EHOSTDOWN) {
		t.Errorf("the context's end: %v", err)
	}
	t.Setenv("USERTCP_WAIT", "soon")
	if serverWait() != 0 {
		t.Error("a duration that is none")
	}
}
