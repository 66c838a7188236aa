package message

import (
	"testing"
	"time"
)

func TestLimitsComeBackAsTheyWere(t *testing.T) {
	u := PoolUsage{Buffers: 1 << 40, Memory: 3, Sockets: 4, Orphans: 5, Reset: 6}
	if got, err := ParsePoolUsage(u.Append(nil)); err != nil || got != u {
		t.Errorf("%+v, %v; want %+v", got, err, u)
	}
	l := PoolLimits{Level: 2, Orphans: 1, Sockets: 2, OrphanTries: 3, FinWait: 4 * time.Second, Memory: 1 << 50, Step: u}
	if got, err := ParsePoolLimits(l.Append(nil)); err != nil || got != l {
		t.Errorf("%+v, %v; want %+v", got, err, l)
	}
}

func TestLimitsThatAreNone(t *testing.T) {
	l := PoolLimits{Level: 3}
	for _, b := range [][]byte{nil, l.Append(nil), l.Append(nil)[1:], append(l.Append(nil), 0)} {
		if _, err := ParsePoolLimits(b); err != ErrLimits {
			t.Errorf("limits of %d octets: %v", len(b), err)
		}
	}
	for _, b := range [][]byte{nil, l.Step.Append(nil)[1:], append(l.Step.Append(nil), 0)} {
		if _, err := ParsePoolUsage(b); err != ErrUsage {
			t.Errorf("usage of %d octets: %v", len(b), err)
		}
	}
}

func TestUsageIsToldInSteps(t *testing.T) {
	step := PoolUsage{Buffers: 100, Memory: 100, Sockets: 10, Orphans: 5}
	told := PoolUsage{Buffers: 1000, Memory: 1000, Sockets: 20, Orphans: 10}
	for _, row := range []struct {
		name string
		now  PoolUsage
		want bool
	}{
		{"nothing new", told, false},
		{"a little of each", PoolUsage{1099, 901, 29, 6, 0}, false},
		{"more buffers", PoolUsage{1100, 1000, 20, 10, 0}, true},
		{"fewer", PoolUsage{900, 1000, 20, 10, 0}, true},
		{"more memory", PoolUsage{1000, 1100, 20, 10, 0}, true},
		{"more sockets", PoolUsage{1000, 1000, 30, 10, 0}, true},
		{"fewer orphans", PoolUsage{1000, 1000, 20, 5, 0}, true},
		{"an orphan too many", PoolUsage{1000, 1000, 20, 10, 1}, true},
	} {
		if got := row.now.Changed(&told, &step); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	if same := told; same.Changed(&told, &PoolUsage{}) {
		t.Error("steps of 0 make a change of nothing")
	}
}
