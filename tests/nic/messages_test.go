package nic_test

import (
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/half"
	"usertcp/internal/testnet"
)

// Small messages that follow each other at once share packets, and all of them arrive
// though their writer does not come again: to a kernel's end, which acknowledges
// little. Without auto-corking they leave one by one, as long as the congestion window
// lets them, which is not always all the time.
func TestSmallMessagesSharePackets(t *testing.T) {
	a, b := pair(t, 1500)
	ua := a.attach()
	const messages, size = 3000, 64
	packets := func(autoCorking int) uint64 {
		to, accepted := kernelAccept(t, b.Namespace, testnet.PairB4)
		c, err := dial(ua, to, func(s *half.Socket) error {
			check(t, s.SetOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
			return s.SetOption(half.LevelUser, half.OptionAutoCorking, autoCorking)
		})
		check(t, err)
		defer c.Close()
		s := <-accepted
		defer s.Close()
		for range 20 { // the window opens
			_, err := c.Write(make([]byte, 64<<10))
			check(t, err)
			_, err = io.ReadFull(s, make([]byte, 64<<10))
			check(t, err)
		}
		info, err := c.Info()
		check(t, err)
		before := info.SegsOut
		for i := range messages {
			message := make([]byte, size)
			message[0] = byte(i)
			_, err := c.Write(message)
			check(t, err)
		}
		got := make([]byte, messages*size)
		_, err = io.ReadFull(s, got)
		check(t, err)
		for i := range messages {
			if got[i*size] != byte(i) {
				t.Fatalf("message %d begins with %d", i, got[i*size])
			}
		}
		info, err = c.Info()
		check(t, err)
		return info.SegsOut - before
	}
	// Without it may be as few, when the receiver has no CPU for a while; and with it half as
	// many once when the writer had none, so that what it had written did not wait for it.
	for range 10 {
		on, off := packets(1), packets(0)
		t.Logf("%d messages: %d packets, without auto-corking %d", messages, on, off)
		if on <= messages/4 {
			return
		}
	}
	t.Error("they do not share packets")
}
