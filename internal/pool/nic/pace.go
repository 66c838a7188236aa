package nic

// pace guesses whether another packet lies behind the one that was just taken: to find
// out costs a system call. Where packets have come one by one of late, as those of
// requests and responses do, Receive says without a look that there is none. Who then
// wants to sleep is told by Arm or Doze if that was wrong.
type pace struct {
	behind bool // the last call took a packet: this one asks for what lies behind it
	looks  bool // and is finding out
	alone  int  // packets in a row with nothing behind them
	spared int  // looks
}

const (
	aloneOften = 4  // so many packets with nothing behind them make us guess
	spareMost  = 16 // guesses until the next look
)

// rest reports whether to do without a look.
func (p *pace) rest() bool {
	if !p.behind {
		return false
	}
	p.behind = false
	if p.alone < aloneOften || p.spared >= spareMost {
		p.looks, p.spared = true, 0
		return false
	}
	p.spared++
	return true
}

// nothing notes that a look has found nothing.
func (p *pace) nothing() {
	if p.looks {
		p.alone++
	}
	p.looks = false
}

// packet notes that one was taken.
func (p *pace) packet() {
	if p.looks {
		p.alone = 0
	}
	p.looks, p.behind = false, true
}
