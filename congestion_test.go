package usertcp

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"
)

func TestCongestionControlIsChosenByName(t *testing.T) {
	useHost(t)
	x, y := pair(t)
	defer y.Close()
	a := x.(*Conn)
	names := CongestionControls()
	if got := a.CongestionControl(); got != names[0] || got != "cubic" {
		t.Errorf("the default is %q; of %q", got, names)
	}
	if err := a.SetCongestionControl("vegas"); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a name that is none: %v", err)
	}
	a.Close()
	if err := a.SetCongestionControl("reno"); err == nil || a.CongestionControl() != "" {
		t.Errorf("after Close: %v, %q", err, a.CongestionControl())
	}
}

// TestCongestionControlChangesInTheMiddle sends a stream, changes the congestion
// control and the pacing while it runs, and compares what arrives.
func TestCongestionControlChangesInTheMiddle(t *testing.T) {
	useHost(t)
	x, b := pair(t)
	a := x.(*Conn)
	defer a.Close()
	defer b.Close()
	piece := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	names := CongestionControls()
	go func() {
		defer a.CloseWrite()
		for i := range 12 {
			name := names[i%len(names)]
			if err := a.SetCongestionControl(name); err != nil || a.CongestionControl() != name {
				t.Errorf("%s: %v", name, err)
			}
			if err := a.SetPacing(i%4 == 1); err != nil {
				t.Error(err)
			}
			if _, err := a.Write(piece); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, slices.Repeat(piece, 12)) {
		t.Errorf("got %d octets, want %d: %v", len(got), 12*len(piece), err)
	}
}

func TestAcceptedConnectionsHaveTheListenersCongestionControl(t *testing.T) {
	useHost(t)
	l, err := Listen("tcp", "10.1.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.(*Listener).SetCongestionControl("reno"); err != nil {
		t.Fatal(err)
	}
	a, err := Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if name := b.(*Conn).CongestionControl(); name != "reno" {
		t.Errorf("it is %q", name)
	}
}
