package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"usertcp/internal/perf"
)

func newNC() *cobra.Command {
	var f stackFlags
	var listen bool
	cmd := &cobra.Command{
		Use:   "nc [-l] ADDR",
		Short: "standard input and output over a connection",
		Long: `Standard input and output over a connection.

It connects to ADDR (host:port), or with -l waits there for one connection.
The end of the standard input closes that direction; nc ends when the other
side has closed, too.`,
		Args: takes("ADDR", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := f.open()
			if err != nil {
				return err
			}
			conn, err := open(cmd, st, args[0], listen)
			if err != nil {
				return err
			}
			defer conn.Close()
			return join(cmd.Context(), conn, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "wait for a connection")
	return cmd
}

// dialTime bounds the time to connect; the kernel alone would take two minutes.
const dialTime = 30 * time.Second

// open dials, or listens for one connection.
func open(cmd *cobra.Command, st perf.Stack, addr string, listen bool) (net.Conn, error) {
	ctx := cmd.Context()
	if !listen {
		ctx, cancel := context.WithTimeout(ctx, dialTime)
		defer cancel()
		return st.Dial(ctx, addr)
	}
	l, err := st.Listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), perf.ListeningOn(l.Addr().String()))
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	conn, err := l.Accept()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return conn, err
}

// join copies both ways until both directions have ended, or ctx. A terminal's
// input is not waited for when the other side has closed.
func join(ctx context.Context, conn net.Conn, in io.Reader, out io.Writer) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan error, 1)
	go func() { sent <- sendInput(conn, in) }()
	_, err := io.Copy(out, conn)
	if err == nil && !isTerminal(in) {
		select {
		case err = <-sent:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// isTerminal reports whether somebody may be typing.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// sendInput sends everything and closes that direction.
func sendInput(conn net.Conn, in io.Reader) error {
	if _, err := io.Copy(conn, in); err != nil {
		return err
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("this connection cannot be closed in one direction")
	}
	return half.CloseWrite()
}
