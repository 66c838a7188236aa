package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// pair returns the two ends of a connection of the kernel's.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

func TestJoinSendsAllOfItsInputAfterTheOtherSideHasClosed(t *testing.T) {
	a, b := pair(t)
	b.CloseWrite()
	in, feed := io.Pipe()
	go func() {
		time.Sleep(50 * time.Millisecond)
		io.WriteString(feed, "late")
		feed.Close()
	}()
	var out bytes.Buffer
	if err := join(t.Context(), a, in, &out); err != nil || out.Len() != 0 {
		t.Errorf("error %v, output %q", err, &out)
	}
	a.Close()
	if got, err := io.ReadAll(b); err != nil || string(got) != "late" {
		t.Errorf("the other side got %q, %v", got, err)
	}
}

func TestJoinReceivesAfterTheEndOfItsInput(t *testing.T) {
	a, b := pair(t)
	go func() {
		question, _ := io.ReadAll(b) // to the end of file
		io.WriteString(b, "answer to "+string(question))
		b.Close()
	}()
	var out bytes.Buffer
	if err := join(t.Context(), a, strings.NewReader("question"), &out); err != nil || out.String() != "answer to question" {
		t.Errorf("error %v, output %q", err, &out)
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	a, _ := pair(t)
	in, _ := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := join(ctx, a, in, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestJoinReportsAReset(t *testing.T) {
	a, b := pair(t)
	b.SetLinger(0)
	b.Close()
	in, _ := io.Pipe()
	if err := join(t.Context(), a, in, io.Discard); err == nil {
		t.Error("a reset connection ended like a closed one")
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if isTerminal(f) || isTerminal(strings.NewReader("")) {
		t.Error("the null device or a string is taken for a terminal")
	}
}

func TestATerminalIsATerminal(t *testing.T) {
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !isTerminal(f) {
		t.Error("a pseudo terminal is not recognised")
	}
}
