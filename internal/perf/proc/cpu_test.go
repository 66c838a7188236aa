package proc

import (
	"os"
	"slices"
	"testing"
	"time"
)

// burn keeps one CPU busy for at least d of processor time.
func burn(t *testing.T, d time.Duration) {
	t.Helper()
	begin, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for give := time.Now().Add(30 * time.Second); time.Now().Before(give); {
		if now, _ := CPUTime(os.Getpid()); now-begin >= d {
			return
		}
	}
	t.Fatalf("30 s of trying did not use %v of processor time", d)
}

func TestCPUTimeAgreesWithProcStat(t *testing.T) {
	burn(t, 100*time.Millisecond)
	clock, err := CPUTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	stat, err := cpuTimeFromStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if diff := (clock - stat).Abs(); diff > 3*tick || stat < 50*time.Millisecond {
		t.Errorf("clock says %v, /proc says %v", clock, stat)
	}
}

func TestCPUTimeOfAnotherProcess(t *testing.T) {
	p := start(t, "burn")
	if _, err := p.WaitLine(t.Context(), time.Minute, "burnt"); err != nil {
		t.Fatal(err)
	}
	used, err := CPUTime(p.PID())
	if err != nil || used < 20*time.Millisecond || used > 2*time.Second {
		t.Errorf("CPUTime = %v, %v; want about 300ms", used, err)
	}
}

func TestCPUTimeOfNobody(t *testing.T) {
	p := start(t, "quick")
	if err := p.Wait(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{p.PID(), 0, -1} {
		if used, err := CPUTime(pid); err == nil {
			t.Errorf("CPUTime(%d) = %v, want an error", pid, used)
		}
	}
}

func TestMachineCPUCountsWork(t *testing.T) {
	before, err := MachineCPU()
	if err != nil {
		t.Fatal(err)
	}
	burn(t, 150*time.Millisecond)
	after, err := MachineCPU()
	if err != nil || after-before < 100*time.Millisecond {
		t.Errorf("from %v to %v, %v; want 150ms of work seen", before, after, err)
	}
}

func TestParseMachineCPU(t *testing.T) {
	got, err := parseMachineCPU("cpu  1 2 4 1000 2000 8 16 4000 0 0")
	if want := 31 * tick; err != nil || got != want {
		t.Errorf("= %v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 4 1000 2000 8 16", "cpu a 2 4 5 6 7 8 9"} {
		if got, err := parseMachineCPU(bad); err == nil {
			t.Errorf("parseMachineCPU(%q) = %v, want an error", bad, got)
		}
	}
}

func TestChildrenAndParent(t *testing.T) {
	p := start(t, "greet")
	children, err := Children(os.Getpid())
	if err != nil || !slices.Contains(children, p.PID()) {
		t.Errorf("Children = %v, %v; want %d among them", children, err, p.PID())
	}
	if parent, err := Parent(p.PID()); err != nil || parent != os.Getpid() {
		t.Errorf("Parent = %d, %v; want %d", parent, err, os.Getpid())
	}
	if of, err := Children(p.PID()); err != nil || len(of) != 0 {
		t.Errorf("Children of the child = %v, %v; want none", of, err)
	}
}

func TestSystemTimeIsAPartOfTheWhole(t *testing.T) {
	for give := time.Now().Add(30 * time.Second); time.Now().Before(give); {
		if s, err := SystemTime(os.Getpid()); err != nil || s > 50*time.Millisecond {
			break
		}
		os.ReadFile("/proc/self/stat")
	}
	own, err := SystemTime(os.Getpid())
	all, _ := CPUTime(os.Getpid())
	if err != nil || own < 50*time.Millisecond || own > all+tick {
		t.Errorf("%v of %v in the kernel, %v", own, all, err)
	}
	fields, err := statFields(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if stat, _ := sumTicks(fields[12:13]); (stat - own).Abs() > 3*tick {
		t.Errorf("getrusage says %v, /proc says %v", own, stat)
	}
	p := start(t, "burn")
	if _, err := p.WaitLine(t.Context(), time.Minute, "burnt"); err != nil {
		t.Fatal(err)
	}
	if s, err := SystemTime(p.PID()); err != nil || s > 2*time.Second {
		t.Errorf("another's: %v, %v", s, err)
	}
	if _, err := SystemTime(1<<22 + 1); err == nil {
		t.Error("nobody has a system time")
	}
}
