package half

// Vacate is called when the program is out of the segment and another process is
// to come in its place: until it comes the bottom half does the top half's work, as
// for a program that is stopped. What the program may have left behind is undone:
// dead reports whether it is no more, and if it died with the lock the result is
// true.
func (b *Bottom) Vacate(dead func() bool) (held bool) {
	b.mu.Lock()
	if b.ruined {
		b.mu.Unlock()
		return false
	}
	for !b.lock.Lock(lockBound) {
		if dead() && b.lock.Seize() {
			held = true
			break
		}
	}
	b.entered()
	defer b.leave()
	b.repair(dropReserved)
	b.ctl.leader.Store(0)
	b.drives, b.absent = b.ctl.drives.Load(), true
	b.stand()
	return held
}
