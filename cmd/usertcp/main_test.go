package main

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"usertcp": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:       "testdata",
		Deadline:  time.Now().Add(5 * time.Minute),
		Condition: served,
		Setup: func(e *testscript.Env) error {
			// A Unix socket's path is short: the scripts' own directory may be too deep.
			short, err := os.MkdirTemp("", "ut")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(short) })
			e.Setenv("SHORT", short)
			e.Setenv("TMPDIR", short)
			return nil
		},
	})
}

func TestDoubleDashes(t *testing.T) {
	cases := map[string]string{
		"server -ring DIR -addr 10.1.0.1":    "server --ring DIR --addr 10.1.0.1",
		"perf --to A -json":                  "perf --to A --json",
		"perf -size=64 -to -json":            "perf --size=64 --to -json",
		"perf -to A -- -json":                "perf --to A -- -json",
		"nc -l 10.1.0.1:80":                  "nc -l 10.1.0.1:80",
		"nc -stack kernel -listen ADDR":      "nc --stack kernel --listen ADDR",
		"perf -foo":                          "perf --foo",
		"perf -size -5":                      "perf --size -5",
		"perf -h":                            "perf -h",
		"-version":                           "--version",
		"":                                   "",
		"nc -":                               "nc -",
		"compare -repeat 2 -spin on -json x": "compare --repeat 2 --spin on --json x",
	}
	for in, want := range cases {
		got := doubleDashes(newRoot(), strings.Fields(in))
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := doubleDashes(newRoot(), []string{"perf", "-to", ""}); !slices.Equal(got, []string{"perf", "--to", ""}) {
		t.Errorf("an empty value: %q", got)
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine(errors.Join(errors.New("a"), errors.New("b"))); got != "a; b" {
		t.Errorf("got %q", got)
	}
}

func TestHelpIsOfUse(t *testing.T) {
	for _, cmd := range newRoot().Commands() {
		if cmd.Hidden {
			continue
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short description %q", cmd.Name(), cmd.Short)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.UsageString()) {
			if n := len([]rune(line)); n > 80 {
				t.Errorf("%s: a line of the help has %d columns: %s", cmd.Name(), n, line)
			}
		}
	}
}

func TestShardsFlag(t *testing.T) {
	for n, ok := range map[int]bool{-1: false, 0: false, 1: true, 16: true, 17: false} {
		if err := checkShards(n); (err == nil) != ok {
			t.Errorf("%d shards: %v", n, err)
		}
	}
	cmd := newRoot()
	cmd.SetArgs([]string{"perf", "--to", "127.0.0.1:1", "--shards", "17"})
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "-shards 17") {
		t.Errorf("perf -shards 17: %v", err)
	}
}
