package child

import (
	"testing"
	"time"

	"usertcp/internal/half"
)

// patience is how long what must happen may take.
const patience = time.Minute

func newTestTicker(t *testing.T) *ticker {
	t.Helper()
	k, err := newTicker()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

// ticks returns a channel on which each tick says that it has come.
func (k *ticker) ticks() <-chan error {
	c := make(chan error)
	go func() {
		for {
			err := k.wait()
			c <- err
			if err != nil {
				return
			}
		}
	}()
	return c
}

func wantTick(t *testing.T, c <-chan error) {
	t.Helper()
	select {
	case err := <-c:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("it does not tick")
	}
}

func wantNoTick(t *testing.T, c <-chan error) {
	t.Helper()
	select {
	case err := <-c:
		t.Fatalf("a tick, %v", err)
	case <-time.After(50 * time.Millisecond):
	}
}

// letCome takes a tick that was on its way.
func letCome(c <-chan error) {
	select {
	case <-c:
	case <-time.After(50 * time.Millisecond):
	}
}

func TestTicker(t *testing.T) {
	k := newTestTicker(t)
	c := k.ticks()
	wantNoTick(t, c)
	begun := time.Now()
	k.every(half.Tick)
	for range 5 {
		wantTick(t, c)
	}
	if d := time.Since(begun); d < 4*half.Tick {
		t.Errorf("five ticks take %v", d)
	}
	k.every(0)
	letCome(c)
	wantNoTick(t, c)
	k.every(half.Tick)
	wantTick(t, c)
}

// To be told again and again what it does anyway does not put its ticks off.
func TestTickerIsToldAgain(t *testing.T) {
	k := newTestTicker(t)
	c := k.ticks()
	for range 1000 {
		k.every(half.RestTick)
		select {
		case <-c:
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Error("it does not tick")
}

// A long wait is cut short when there is something to do, a short one is not: it ends soon.
func TestTickerInAHurry(t *testing.T) {
	k := newTestTicker(t)
	c := k.ticks()
	k.every(time.Hour)
	wantNoTick(t, c)
	k.hurry()
	wantTick(t, c)
	wantTick(t, c) // and another one, soon: nobody has said yet how it goes on
	k.every(time.Hour)
	letCome(c)
	k.every(time.Hour) // as it is
	wantNoTick(t, c)
	k.hurry()
	wantTick(t, c)

	k.every(half.RestTick)
	period := k.period
	k.hurry()
	if k.period != period || period != half.RestTick {
		t.Errorf("a wait of %v is cut short", half.RestTick)
	}
}

// Who waits hears that there will be no tick any more.
func TestTickerEnds(t *testing.T) {
	k := newTestTicker(t)
	c := k.ticks()
	k.every(time.Hour)
	k.close()
	select {
	case err := <-c:
		if err == nil {
			t.Error("a tick")
		}
	case <-time.After(patience):
		t.Error("it waits still")
	}
	if k.every(half.Tick) == nil {
		t.Error("a ticker that is closed ticks")
	}
}
