package perf

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// alone is a stack without helpers, for meters.
var alone = newKernelStack()

// The clock of these tests stands still while they run.

func TestMeasureLeavesTheWarmUpOut(t *testing.T) { synctest.Test(t, measureLeavesTheWarmUpOut) }

func measureLeavesTheWarmUpOut(t *testing.T) {
	c := newCrew(time.Minute, nil)
	m := newMeter("client", 2, alone)
	m.counters[0].n.Add(1000) // before the test
	time.AfterFunc(30*time.Millisecond, func() { m.counters[1].n.Add(1000) })
	time.AfterFunc(250*time.Millisecond, func() { m.counters[1].n.Add(7) })
	w := m.measure(&Setup{Warmup: 150 * time.Millisecond, Time: 200 * time.Millisecond}, c)
	if w.Count != 7 || w.Seconds != 0.2 {
		t.Errorf("counted %d in %v s, want 7 in 0.2", w.Count, w.Seconds)
	}
	if m.recording.Load() {
		t.Error("latencies are recorded after the measured time")
	}
	if len(w.Processes) != 1 || w.Processes[0].PID != os.Getpid() || w.Processes[0].Role != "program" {
		t.Errorf("processes %+v, want this program", w.Processes)
	}
}

func TestMeasureRecordsOnlyInItsTime(t *testing.T) { synctest.Test(t, measureRecordsOnlyInItsTime) }

func measureRecordsOnlyInItsTime(t *testing.T) {
	c := newCrew(time.Minute, nil)
	m := newMeter("client", 1, alone)
	var during, before atomic.Bool
	time.AfterFunc(20*time.Millisecond, func() { before.Store(m.recording.Load()) })
	time.AfterFunc(200*time.Millisecond, func() { during.Store(m.recording.Load()) })
	m.measure(&Setup{Warmup: 100 * time.Millisecond, Time: 300 * time.Millisecond}, c)
	if before.Load() || !during.Load() {
		t.Errorf("recording: %v in the warm-up, %v in the measured time", before.Load(), during.Load())
	}
}

func TestMeasureEndsWithAFailure(t *testing.T) { synctest.Test(t, measureEndsWithAFailure) }

func measureEndsWithAFailure(t *testing.T) {
	c := newCrew(time.Minute, nil)
	time.AfterFunc(20*time.Millisecond, func() { c.fail(os.ErrClosed) })
	began := time.Now()
	newMeter("client", 1, alone).measure(&Setup{Warmup: time.Minute, Time: time.Minute}, c)
	if took := time.Since(began); took != 20*time.Millisecond {
		t.Errorf("took %v after the failure", took)
	}
}

func TestStandstillIsAFailure(t *testing.T) { synctest.Test(t, standstillIsAFailure) }

func standstillIsAFailure(t *testing.T) {
	c := newCrew(time.Minute, nil)
	m := newMeter("server", 1, alone)
	m.standstill = 20 * time.Millisecond
	m.watch(time.Minute, c)
	if err := c.wait(); err == nil || !strings.Contains(err.Error(), "nothing has come or gone for 20ms") {
		t.Errorf("error %v", err)
	}
}

func TestProgressIsNoStandstill(t *testing.T) { synctest.Test(t, progressIsNoStandstill) }

func progressIsNoStandstill(t *testing.T) {
	c := newCrew(time.Minute, nil)
	m := newMeter("server", 1, alone)
	m.standstill = 100 * time.Millisecond
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				m.counters[0].n.Add(1)
			case <-stop:
				return
			}
		}
	}()
	m.watch(450*time.Millisecond, c)
	close(stop)
	if err := c.wait(); err != nil {
		t.Errorf("error %v", err)
	}
}

func TestHelpersThatAreGoneAreLeftOut(t *testing.T) {
	m := newMeter("client", 1, alone)
	m.helpers = func() []Helper { return []Helper{{"child", -1}, {"server", os.Getpid()}} }
	got := m.readProcesses()
	if len(got) != 2 || got[1].Role != "server" || got[1].Seconds <= 0 {
		t.Errorf("processes %+v", got)
	}
}
