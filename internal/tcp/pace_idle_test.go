package tcp

import (
	"testing"

	"usertcp/internal/wire"
)

// A tail loss probe may leave whatever the pace, and when it is acknowledged
// nothing is left to send; yet the timer of the pace ran on, for seconds if the
// pace was low, and woke a connection that was idle (seed 35618 of the simulator).
func TestPaceTimerEndsWithTheData(t *testing.T) {
	tk := established(t)
	tk.write(1000)
	tk.want(wire.ACK|wire.PSH, 1, 1, 1000)
	tk.c.arm(timerPace, tk.now+3*Second)
	tk.inject(wire.ACK, 1, 1001, 0)
	tk.wantNone()
	if at := tk.c.Deadline(); at != Never {
		t.Errorf("a timer is set %d ms ahead, and nothing is left to send", (at-tk.now)/Millisecond)
	}
}

func TestPaceTimerStaysForMoreData(t *testing.T) {
	tk := established(t, option(func(o *ConnOptions) { o.Pacing = 1 }))
	tk.write(1000)
	tk.want(wire.ACK|wire.PSH, 1, 1, 1000)
	at := tk.now + 3*Second
	tk.c.rate.pace, tk.c.rate.paceAt = 1000, at
	tk.c.arm(timerPace, at)
	tk.write(1000)
	tk.do("an acknowledgement of all that was sent", func(*Memory) { tk.c.stopSending(); tk.c.armResend(tk.now) })
	if !tk.c.armed(timerPace) {
		t.Error("the pace's timer was stopped with data to send")
	}
}
