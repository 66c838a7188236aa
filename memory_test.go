package usertcp

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"usertcp/internal/testhost"
)

// status returns the fields of /proc/PID/status that are in kB, in octets.
func status(t *testing.T, pid int) map[string]int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fields := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), ":")
		if kb, ok := strings.CutSuffix(strings.TrimSpace(value), " kB"); ok {
			n, err := strconv.Atoi(kb)
			if err != nil {
				t.Fatal(err)
			}
			fields[name] = n << 10
		}
	}
	return fields
}

// segments returns the octets of shared segments that are resident in a process:
// in memory files, whoever made them.
func segments(t *testing.T, pid int) (resident int) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		switch {
		case len(fields) > 1 && strings.Contains(fields[0], "-"):
			inside = strings.Contains(s.Text(), "/memfd:usertcp")
		case inside && len(fields) == 3 && fields[0] == "Rss:":
			kb, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			resident += kb << 10
		}
	}
	return resident
}

// A fresh application with one connection costs less than 32 MiB: the child with
// what it has mapped, and what of the segment only the application has touched.
func TestMemoryOfAFreshApplication(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector multiplies memory; the test runs without it")
	}
	l, socket := peers(t)
	p := testhost.Run(t, socket, "hold", l.Addr().String())
	child := childOf(t, p)
	c := accept(t, l)
	p.Want("connected")
	write(t, c, "hello")
	time.Sleep(pause)
	s := status(t, child)
	const mib = 1 << 20
	shared := max(segments(t, child), segments(t, p.Pid()))
	total := s["RssAnon"] + s["RssFile"] + shared
	t.Logf("child: anonymous %.1f MiB, program text %.1f MiB; segments %.1f MiB; together %.1f MiB",
		float64(s["RssAnon"])/mib, float64(s["RssFile"])/mib, float64(shared)/mib, float64(total)/mib)
	if total >= 32*mib {
		t.Errorf("%d octets, want less than 32 MiB", total)
	}
}
