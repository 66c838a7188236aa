package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"usertcp"
	"usertcp/internal/perf"
	"usertcp/internal/perf/proc"
)

// defaultPerfAddr has netperf's port.
const defaultPerfAddr = ":12865"

// stackFlags are those of every command that uses a stack.
type stackFlags struct {
	stack, spin, cpus string
	shards            int
	tuning            perf.Tuning
}

func (f *stackFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.stack, "stack", "user", "`TCP`: user or kernel")
	addSpin(flags, &f.spin)
	addShards(flags, &f.shards)
	flags.StringVar(&f.cpus, "cpus", "", "run only on the CPUs of this `list`: 0 or 0,2 or 0-3")
}

func addTuning(flags *pflag.FlagSet, t *perf.Tuning) {
	flags.IntVar(&t.Buffers, "buffers", 0, "`octets` of SO_SNDBUF and SO_RCVBUF")
}

func addSpin(flags *pflag.FlagSet, spin *string) {
	flags.StringVar(spin, "spin", "default", "when to `spin`: off, default or on")
}

func addShards(flags *pflag.FlagSet, shards *int) {
	flags.IntVar(shards, "shards", 1, "`number` of segments of a program over user-space TCP,\neach with a lock and a child")
}

// Where the library looks for them.
const (
	spinEnv   = "USERTCP_SPIN"
	shardsEnv = "USERTCP_SHARDS"
)

func checkSpin(spin string) error {
	if !slices.Contains([]string{"off", "default", "on"}, spin) {
		return fmt.Errorf("unknown value %q of -spin (there are: off, default, on)", spin)
	}
	return nil
}

// open pins the process and returns the stack.
func (f *stackFlags) open() (perf.Stack, error) {
	if err := errors.Join(checkSpin(f.spin), checkShards(f.shards)); err != nil {
		return nil, err
	}
	st, err := perf.NewStack(f.stack, f.tuning)
	if err != nil {
		return nil, err
	}
	if err := pin(f.cpus); err != nil {
		return nil, err
	}
	return st, errors.Join(os.Setenv(spinEnv, f.spin), os.Setenv(shardsEnv, strconv.Itoa(f.shards)))
}

func checkShards(n int) error {
	if n < 1 || n > usertcp.MaxShards {
		return fmt.Errorf("-shards %d, where 1 to %d can be had", n, usertcp.MaxShards)
	}
	return nil
}

// pin starts the program anew on the CPUs of the list, unless it is there.
func pin(list string) error {
	if list == "" {
		return nil
	}
	cpus, err := proc.ParseCPUs(list)
	if err != nil {
		return err
	}
	return proc.Pin(cpus)
}

// perfFlags are those of perf.
type perfFlags struct {
	stackFlags
	setup        setupFlags
	listen, once bool
	to           string
	json         bool
}

// setupFlags describe a measurement.
type setupFlags struct {
	test  string
	setup perf.Setup
	flags *pflag.FlagSet
}

// bulkSize is the default size of messages, octets.
const bulkSize = 65536

// bodySize is the default size of an HTTP response's body, octets.
const bodySize = 1024

func (f *setupFlags) add(flags *pflag.FlagSet, duration time.Duration) {
	f.flags = flags
	flags.StringVar(&f.test, "test", "stream", "stream, maerts, rr, crr or http")
	flags.IntVar(&f.setup.Size, "size", bulkSize, "`octets` in a message; rr and crr: 1; http,\nin the body of a response: 1024")
	flags.IntVar(&f.setup.Conns, "conns", 1, "connections at the same time")
	flags.DurationVar(&f.setup.Time, "time", duration, "measured time")
	flags.BoolVar(&f.setup.NoDelay, "nodelay", false, "stream, maerts: Nagle's algorithm off, as package net\nhas it")
	flags.DurationVar(&f.setup.Warmup, "warmup", perf.DefaultWarmup, "time before it that does not count")
}

// get returns the measurement that the flags describe.
func (f *setupFlags) get() (perf.Setup, error) {
	f.setup.Test = perf.Test(f.test)
	switch {
	case f.setup.Test.Bulk(), f.flags.Changed("size"):
	case f.setup.Test == perf.HTTP:
		f.setup.Size = bodySize
	default:
		f.setup.Size = 1
	}
	return f.setup, f.setup.Check()
}

func newPerf() *cobra.Command {
	var f perfFlags
	cmd := &cobra.Command{
		Use:   "perf -listen [ADDR] | -to ADDR [flags]",
		Short: "measure throughput and latency between two programs",
		Long: `Measure throughput and latency between two programs.

One program listens: usertcp perf -listen [ADDR] (default ` + defaultPerfAddr + `).
The other connects to it and measures: usertcp perf -to ADDR -test TEST, with
  stream  it sends as fast as it can
  maerts  the listening program sends as fast as it can
  rr      request and response over a connection that stays
  crr     connect, request, response, close
  http    requests over HTTP/1.1 connections that stay, by net/http

User-space TCP needs a connection server: see usertcp server. Over its ring
both need -stack user; over network devices either may have either.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	f.stackFlags.add(flags)
	addTuning(flags, &f.tuning)
	f.setup.add(flags, 5*time.Second)
	flags.BoolVar(&f.listen, "listen", false, "listen for programs that measure")
	flags.BoolVar(&f.once, "once", false, "with -listen: end after one test")
	flags.BoolVar(&f.setup.setup.CountCalls, "count-calls", false, "count system calls of all processes, which slows\nthem down; root")
	flags.StringVar(&f.to, "to", "", "`address` of the program that listens")
	flags.BoolVar(&f.json, "json", false, "print the report as one JSON object")
	return cmd
}

func (f *perfFlags) run(cmd *cobra.Command, args []string) error {
	if f.listen == (f.to != "") {
		return errors.New("perf needs one of -listen and -to ADDR")
	}
	if !f.listen && len(args) > 0 {
		return fmt.Errorf("unexpected argument %q", args[0])
	}
	setup, err := f.setup.get()
	if err != nil {
		return err
	}
	st, err := f.open()
	if err != nil {
		return err
	}
	if f.listen {
		return f.serve(cmd, st, args)
	}
	report, err := (&perf.Client{Stack: st}).Run(cmd.Context(), f.to, setup)
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(cmd.OutOrStdout(), report)
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), report)
	return err
}

// serve listens and says so in the line that a Runner waits for.
func (f *perfFlags) serve(cmd *cobra.Command, st perf.Stack, args []string) error {
	addr := defaultPerfAddr
	if len(args) > 0 {
		addr = args[0]
	}
	l, err := listenAndSay(cmd, st, addr)
	if err != nil {
		return err
	}
	s := &perf.Server{Stack: st, Once: f.once, Log: func(line string) {
		fmt.Fprintln(cmd.ErrOrStderr(), line)
	}}
	return s.Serve(cmd.Context(), l)
}

// listenAndSay listens and prints the address.
func listenAndSay(cmd *cobra.Command, st perf.Stack, addr string) (net.Listener, error) {
	l, err := st.Listen(cmd.Context(), addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(cmd.OutOrStdout(), perf.ListeningOn(l.Addr().String()))
	return l, nil
}

// printJSON writes one object in one line.
func printJSON(w io.Writer, v any) error {
	return json.NewEncoder(w).Encode(v)
}
