package proc

import "sync"

// output collects what a process writes: at most limit octets, the newest. Those
// who watch it are woken by each write and by the end.
type output struct {
	mu      sync.Mutex
	limit   int
	kept    []byte
	changed chan struct{}
	ended   bool
}

func newOutput(limit int) *output {
	return &output{limit: limit, changed: make(chan struct{})}
}

// Write keeps the newest octets. It never fails, since a full pipe would stop
// the process that is being measured.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, b...)
	if excess := len(o.kept) - o.limit; excess > 0 {
		o.kept = append(o.kept[:0], o.kept[excess:]...)
	}
	o.wake()
	return len(b), nil
}

// close tells those who watch that nothing more will come.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.wake()
}

// wake is called with mu held.
func (o *output) wake() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// watch returns a channel that is closed at the next change, and whether the
// end has come already. Call it before bytes, or a change may be missed.
func (o *output) watch() (changed <-chan struct{}, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed, o.ended
}

// bytes returns a copy of what is kept.
func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]byte(nil), o.kept...)
}
