package proc

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// roleEnv makes the test binary one of the processes that the tests start.
const roleEnv = "PROC_TEST_ROLE"

func TestMain(m *testing.M) {
	role, ok := roles[os.Getenv(roleEnv)]
	if !ok {
		os.Exit(m.Run())
	}
	role()
	os.Exit(0)
}

// roles are what the test binary does as a started process.
var roles map[string]func()

func init() {
	roles = map[string]func(){
		"greet": func() {
			fmt.Println("noise")
			fmt.Println("ready on 127.0.0.1:1 ")
			io.Copy(io.Discard, os.Stdin)
			time.Sleep(time.Hour)
		},
		"fail": func() {
			fmt.Fprintln(os.Stderr, "first line")
			fmt.Fprintln(os.Stderr, "usertcp: the reason")
			os.Exit(3)
		},
		"quick": func() { fmt.Println("done") },
		"stubborn": func() {
			signal.Ignore(syscall.SIGTERM)
			fmt.Println("ignoring")
			time.Sleep(time.Hour)
		},
		"burn": func() {
			var used syscall.Rusage
			for used.Utime.Nano()+used.Stime.Nano() < int64(300*time.Millisecond) {
				if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
					panic(err)
				}
			}
			fmt.Println("burnt")
			time.Sleep(time.Hour)
		},
		"parent": func() {
			child, err := Start(role("greet"))
			if err != nil {
				panic(err)
			}
			fmt.Println("child", child.PID())
			time.Sleep(time.Hour)
		},
		"env": func() { fmt.Println("value", os.Getenv("PROC_TEST_VALUE")) },
		"pin": func() {
			cpus, err := ParseCPUs(os.Getenv("PROC_TEST_CPUS"))
			if err == nil {
				err = Pin(cpus)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			now, err := AllowedCPUs()
			fmt.Println("on", FormatCPUs(now), err)
		},
	}
}

// role is the command that starts the test binary in a role.
func role(name string, env ...string) Command {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Command{Name: "the " + name + " program", Path: exe, Env: append(env, roleEnv+"="+name)}
}

// start starts a role that the end of the test ends.
func start(t *testing.T, name string, env ...string) *Process {
	t.Helper()
	p, err := Start(role(name, env...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(time.Second) })
	return p
}
