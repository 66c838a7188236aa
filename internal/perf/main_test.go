package perf

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"usertcp/internal/perf/proc"
)

// commandEnv makes the test binary the program that a Runner starts. Its value
// says how the program behaves.
const commandEnv = "PERF_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) == "" {
		os.Exit(m.Run())
	}
	if err := testProgram(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "usertcp:", err)
		os.Exit(1)
	}
}

// testCommand is a Commander for the test binary.
func testCommand(behaviour string) Commander {
	return func(name string, args ...string) proc.Command {
		return proc.Command{Name: name, Path: "/proc/self/exe", Args: args, Env: []string{commandEnv + "=" + behaviour}}
	}
}

// testProgram does with the kernel's stack what cmd/usertcp does; a "server" just
// says that it listens.
func testProgram(args []string) error {
	var setup Setup
	var stack, to, test, file, spin, cpus, ring, addr, socket, nic, pins string
	var listen, once, asJSON bool
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	for name, p := range map[string]*string{"stack": &stack, "to": &to, "test": &test, "file": &file, "spin": &spin,
		"cpus": &cpus, "ring": &ring, "addr": &addr, "socket": &socket, "nic": &nic, "pins": &pins} {
		f.StringVar(p, name, "", "")
	}
	for name, p := range map[string]*bool{"listen": &listen, "once": &once, "json": &asJSON} {
		f.BoolVar(p, name, false, "")
	}
	f.IntVar(&setup.Size, "size", 0, "")
	f.IntVar(&setup.Conns, "conns", 0, "")
	f.DurationVar(&setup.Time, "time", 0, "")
	f.DurationVar(&setup.Warmup, "warmup", 0, "")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	setup.Test = Test(test)
	switch {
	case os.Getenv(commandEnv) == "broken":
		return fmt.Errorf("%s is broken", args[0])
	case args[0] == "server":
		fmt.Println(ListeningOn(socket))
		time.Sleep(time.Hour)
	case args[0] == "perf" && listen:
		return testListen(f.Arg(0), func(ctx context.Context, s *Server, l net.Listener) error { return s.Serve(ctx, l) })
	case args[0] == "receive-file":
		return testListen(loopback(f.Arg(0)), func(ctx context.Context, _ *Server, l net.Listener) error {
			_, err := ReceiveFile(ctx, l)
			return err
		})
	case args[0] == "send-file":
		return testSendFile(file, to)
	case args[0] == "perf":
		r, err := (&Client{newKernelStack()}).Run(context.Background(), to, setup)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	return nil
}

// loopback replaces a host of the ring.
func loopback(string) string { return "127.0.0.1:0" }

func testListen(addr string, serve func(context.Context, *Server, net.Listener) error) error {
	st := newKernelStack()
	l, err := st.Listen(context.Background(), addr)
	if err != nil {
		return err
	}
	fmt.Println(ListeningOn(l.Addr().String()))
	return serve(context.Background(), &Server{Stack: st, Once: true}, l)
}

func testSendFile(path, to string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	conn, err := newKernelStack().Dial(context.Background(), to)
	if err != nil {
		return err
	}
	r, err := SendFile(context.Background(), conn, file)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
