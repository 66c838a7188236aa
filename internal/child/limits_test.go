package child

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

// Who has more memory than allowed has two seconds to give some back.
func TestTooMuchMemoryForTooLong(t *testing.T) {
	l := &limits{}
	now := time.Unix(1000, 0)
	for _, row := range []struct {
		after       time.Duration
		has, may    uint64
		want        bool
		description string
	}{
		{0, 1 << 40, 0, false, "no limit"},
		{0, 100, 100, false, "all that it may"},
		{0, 101, 100, false, "too much, just now"},
		{memoryPatience, 101, 100, false, "too much, for two seconds"},
		{time.Millisecond, 99, 100, false, "given back"},
		{time.Millisecond, 101, 100, false, "too much again"},
		{memoryPatience + time.Millisecond, 101, 100, true, "too much for too long"},
	} {
		now = now.Add(row.after)
		l.now.Memory, l.have.Memory = row.has, row.may
		if got := l.beyond(now); got != row.want {
			t.Errorf("%s: %v", row.description, got)
		}
	}
}

func TestLimitsThatAreNoneChangeNothing(t *testing.T) {
	c := &child{began: make(chan struct{}), limits: limits{heard: make(chan struct{})}}
	good := message.PoolLimits{Orphans: 7, Level: 1}
	c.heedLimits(&message.Message{PDU: good.Append(nil)})
	c.heedLimits(&message.Message{PDU: []byte("what?")})
	if c.limits.have != good {
		t.Errorf("%+v", c.limits.have)
	}
	select {
	case <-c.limits.heard:
	default:
		t.Error("nobody has heard of it")
	}
}

func TestAllocatedIsWhatTheKernelHasGiven(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 1<<30); err != nil {
		t.Fatal(err)
	}
	if n := allocated(fd); n != 0 {
		t.Errorf("%d octets before anybody has written", n)
	}
	if _, err := unix.Pwrite(fd, make([]byte, 10_000), 1<<20); err != nil {
		t.Fatal(err)
	}
	if n := allocated(fd); n < 10_000 || n > 4<<20 {
		t.Errorf("%d octets, 10,000 were written", n)
	}
	if allocated(-1) != 0 {
		t.Error("what is not there has memory")
	}
}
