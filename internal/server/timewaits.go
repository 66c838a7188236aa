package server

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// timeWaits are the connections in TIME-WAIT that children have left when they had
// nothing else to do. They are kept in a file, too, beside the children's meeting
// points, so that a server that follows one that was killed has them.
type timeWaits struct {
	mu      sync.Mutex
	byFlow  map[wire.Flow]*tcp.Remnant
	blocks  [numWaitBlocks]blockWaits // by local port
	file    *os.File                  // nil if it could not be made: then they die with the server
	records int                       // in the file
	sweeper *time.Timer
	gone    func(wire.Flow) // is told what is forgotten; nil: nobody
}

// sweepPeriod is how often what has expired is forgotten.
const sweepPeriod = 5 * time.Second

// openTimeWaits reads what a server before this one has left in directory dir.
func openTimeWaits(dir string) (*timeWaits, error) {
	w := &timeWaits{byFlow: make(map[wire.Flow]*tcp.Remnant)}
	path := filepath.Join(dir, "timewait")
	old, _ := os.ReadFile(path) // there is none after an orderly end
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	w.file = f
	boot := bootID()
	if len(old) >= len(boot) && string(old[:len(boot)]) == boot {
		w.read(old[len(boot):])
	}
	w.sweeper = time.AfterFunc(sweepPeriod, w.sweep)
	return w, w.rewrite()
}

// bootID tells this run of the machine from others, whose clocks say nothing here.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fmt.Sprintf("%-40.39s\n", b[:max(0, len(b)-1)])
}

func (w *timeWaits) read(b []byte) {
	for now := clock(); len(b) >= tcp.RemnantLen; b = b[tcp.RemnantLen:] {
		r, ok := tcp.ParseRemnant(b[:tcp.RemnantLen])
		switch {
		case !ok || r.End > now+tcp.TimeWaitLength:
		case r.End > now:
			w.note(&r, nobody)
		default: // it is over, or was taken out
			w.forget(r.Flow)
		}
	}
}

// clock is the time of all hosts' timestamps on this machine.
func clock() tcp.Time {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("BUG: no CLOCK_MONOTONIC: " + err.Error())
	}
	return tcp.Time(t.Nano())
}

// rewrite makes the file say what there is now, and no more.
func (w *timeWaits) rewrite() error {
	b := []byte(bootID())
	for _, r := range w.byFlow {
		b = r.Append(b)
	}
	w.records = len(w.byFlow)
	if err := w.file.Truncate(0); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	_, err := w.file.Write(b)
	return err
}

// parse reads the remnants that a child leaves, one behind the other. The errno is 0 or
// EINVAL.
func (w *timeWaits) parse(b []byte, local func(wire.Addr) bool) ([]tcp.Remnant, unix.Errno) {
	if len(b) == 0 || len(b)%tcp.RemnantLen != 0 {
		return nil, unix.EINVAL
	}
	rs := make([]tcp.Remnant, 0, len(b)/tcp.RemnantLen)
	for now := clock(); len(b) > 0; b = b[tcp.RemnantLen:] {
		r, ok := tcp.ParseRemnant(b[:tcp.RemnantLen])
		if !ok || !local(r.Flow.Local.Addr) || r.End > now+tcp.TimeWaitLength {
			return nil, unix.EINVAL
		}
		rs = append(rs, r)
	}
	return rs, 0
}

// add takes as many remnants as there is room for, and returns their number. whose says whose
// a connection was.
func (w *timeWaits) add(rs []tcp.Remnant, whose func(wire.Flow) int) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byFlow)+len(rs) > maxTimeWaits {
		w.expire(clock())
	}
	n = min(len(rs), max(0, maxTimeWaits-len(w.byFlow)))
	var b []byte
	for i := range rs[:n] {
		w.note(&rs[i], whose(rs[i].Flow))
		b = rs[i].Append(b)
	}
	w.records += n
	w.file.Write(b) // a record that is lost is missed only if this server is killed
	return n
}

// tell has somebody be told what is forgotten from now on.
func (w *timeWaits) tell(gone func(wire.Flow)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = gone
}

// forget ends TIME-WAIT. w.mu is held.
func (w *timeWaits) forget(f wire.Flow) {
	if _, ok := w.byFlow[f]; ok {
		delete(w.byFlow, f)
		delete(w.blocks[waitBlock(f.Local.Port)].flows, f)
	}
	if w.gone != nil {
		w.gone(f)
	}
}

// flows returns all of them.
func (w *timeWaits) flows() []wire.Flow {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.byFlow))
}

// drop ends TIME-WAIT of a connection that nobody can answer for.
func (w *timeWaits) drop(f wire.Flow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(f)
}

func (w *timeWaits) expire(now tcp.Time) {
	for f, r := range w.byFlow {
		if r.End <= now {
			w.forget(f)
		}
	}
}

// sweep forgets what has expired, and keeps the file from growing.
func (w *timeWaits) sweep() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(clock())
	if w.records > 2*len(w.byFlow) {
		w.rewrite()
	}
	w.sweeper.Reset(sweepPeriod)
}

// has reports whether a connection is in TIME-WAIT.
func (w *timeWaits) has(f wire.Flow) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.byFlow[f]
	return r != nil && r.End > clock()
}

// count returns how many there are.
func (w *timeWaits) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(clock())
	return len(w.byFlow)
}

// input gives a segment to the connection in TIME-WAIT that it is for; mine is
// false if there is none, and answer says whether out is to be sent. A SYN that may
// open the connection anew (RFC 6191) ends TIME-WAIT if somebody listens.
func (w *timeWaits) input(f wire.Flow, seg, out *tcp.Segment, listened bool) (mine, answer bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, now := w.byFlow[f], clock()
	if r == nil {
		return false, false
	}
	if r.End <= now || listened && r.MayReopen(seg) {
		w.strike(r)
		return false, false
	}
	answer = r.Input(now, seg, out)
	if r.End <= now {
		w.strike(r)
	} else {
		w.blocks[waitBlock(f.Local.Port)].note(r)
	}
	return true, answer
}

// strike ends TIME-WAIT before its time, for the next server, too. w.mu is held.
func (w *timeWaits) strike(r *tcp.Remnant) {
	gone := *r
	gone.End = 0
	w.forget(gone.Flow)
	w.records++
	w.file.Write(gone.Append(nil))
}

// close ends the sweeping. The file stays for the next server if children stay.
func (w *timeWaits) close(leave bool) {
	w.sweeper.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !leave {
		os.Remove(w.file.Name())
	}
	w.file.Close()
}
