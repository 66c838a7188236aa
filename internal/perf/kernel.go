package perf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelStack is the kernel's TCP at its best: buffers that it tunes itself, no
// multipath, and CUBIC, since a system's default may be BBR, which paces and is
// less than half as fast over loopback.
type kernelStack struct{ tuning Tuning }

func newKernelStack() kernelStack { return kernelStack{} }

func (kernelStack) Name() string { return "kernel" }

func (kernelStack) Helpers() []Helper { return nil }

func (s kernelStack) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Control: s.prepare}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", addr)
}

// Listen: accepted connections inherit the listener's congestion control.
func (s kernelStack) Listen(ctx context.Context, addr string) (net.Listener, error) {
	lc := net.ListenConfig{Control: s.prepare}
	lc.SetMultipathTCP(false)
	return lc.Listen(ctx, "tcp", addr)
}

// kernelCongestionControls in the order of preference. CUBIC may be forbidden to
// the unprivileged (net.ipv4.tcp_allowed_congestion_control); Reno never is, and
// on a path without loss it does the same.
var kernelCongestionControls = []string{"cubic", "reno"}

// prepare is the Control function of dialers and listeners.
func (s kernelStack) prepare(_, _ string, raw syscall.RawConn) error {
	var failure error
	err := raw.Control(func(fd uintptr) {
		for _, o := range s.tuning.options() {
			if failure = unix.SetsockoptInt(int(fd), o[0], o[1], o[2]); failure != nil {
				return
			}
		}
	})
	if err = errors.Join(err, failure); err != nil {
		return err
	}
	return setCongestionControl(raw, kernelCongestionControls)
}

// setCongestionControl chooses the first of names that the kernel allows.
func setCongestionControl(raw syscall.RawConn, names []string) error {
	var failure error
	err := raw.Control(func(fd uintptr) {
		for _, name := range names {
			failure = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
			if failure == nil {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if failure != nil {
		return fmt.Errorf("TCP_CONGESTION: %w", failure)
	}
	return nil
}

// congestionControl returns the name of the congestion control that a connection
// of the kernel's uses, "" for any other connection.
func congestionControl(conn net.Conn) string {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return ""
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return ""
	}
	var name string
	err = raw.Control(func(fd uintptr) {
		name, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	if err != nil {
		return ""
	}
	return name
}
