// Command usertcp is TCP in user space for Linux: its connection server, and
// tools that show and measure it.
//
//	usertcp demo            a file and a comparison with the kernel, in a minute
//	usertcp server          a host's connection server
//	usertcp perf            throughput and latency between two programs
//	usertcp compare         user-space TCP and the kernel's, in turns
//	usertcp table           the whole speed table
//	usertcp nc              standard input and output over a connection
//	usertcp status          what a connection server works for
//	usertcp kill            end connections that their programs have left
//	usertcp sim             whole hosts over a hostile network, by seed
//
// Flags may be written with one dash or two. Errors are one line on standard
// error, and exit status 1; after a signal it is 128 and the signal's number.
//
// Only flags and printing are here, one file for each command; what a command
// does must not go in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/child"
)

func main() {
	// A child has its own idea of signals and flags, and is to stay small.
	if len(os.Args) > 1 && os.Args[1] == childName {
		os.Exit(child.Main(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:]))
}

// childName is the hidden command with which the connection server starts the
// bottom half of an application's TCP. Nobody else can: it inherits sockets.
const childName = "child"

// run runs one command and returns the exit status.
func run(args []string) int {
	ctx, caught := untilSignal()
	root := newRoot()
	root.SetArgs(doubleDashes(root, args))
	err := root.ExecuteContext(ctx)
	if sig := caught(); sig != 0 && (err != nil || sig == syscall.SIGINT) {
		return 128 + int(sig)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "usertcp: "+oneLine(err))
		return 1
	}
	return 0
}

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or
// SIGHUP, and a function that says which it was. Another one, not at the same
// time, ends the program at once.
func untilSignal() (context.Context, func() syscall.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	var caught syscall.Signal
	go func() {
		sig := <-signals
		time.AfterFunc(together, func() { signal.Stop(signals) })
		caught = sig.(syscall.Signal)
		cancel()
	}()
	return ctx, func() syscall.Signal {
		if ctx.Err() == nil {
			return 0
		}
		return caught
	}
}

// together is how long several signals may be one: when the process that started
// this one is killed, the kernel may send SIGTERM (PR_SET_PDEATHSIG) for each of its
// threads.
const together = 300 * time.Millisecond

// oneLine joins the lines of errors that have several.
func oneLine(err error) string {
	return strings.Join(strings.Split(strings.TrimSpace(err.Error()), "\n"), "; ")
}

// takes wants from least to most arguments, which words name.
func takes(words string, least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("%s needs %s", cmd.Name(), words)
		case len(args) > most:
			return fmt.Errorf("%s needs %s, and nothing else", cmd.Name(), words)
		}
		return nil
	}
}

// newRoot returns the command with all its subcommands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "usertcp",
		Short:         "TCP in user space for Linux",
		Long:          "TCP in user space for Linux. Flags may be written with one dash or two.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	for _, cmd := range commands() {
		cmd.DisableFlagsInUseLine = true
		root.AddCommand(cmd)
	}
	return root
}

// commands lists the subcommands.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDemo(), newFigures(), newServer(), newStatus(), newKill(), newPerf(), newCompare(), newTable(), newNC(), newVersion(),
		newSendFile(), newReceiveFile(), newSim(),
	}
}
