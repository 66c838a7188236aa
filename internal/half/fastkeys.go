package half

import "syscall"

// fastKeys are the keys of Fast Open's cookies that a listener has of its own: the first
// for making and checking them, the second for checking only. Without there is the
// segment's secret.
type fastKeys struct {
	conn uint32 // index + 1 of the listener, 0 if the place is free
	gen  uint32 // of the listener's slot
	keys [2][16]byte
}

// isOf reports whether the keys are those of the listener that slot l is now.
func (k *fastKeys) isOf(h *Half, l uint32) bool { return k.conn == l+1 && k.gen == h.aux[l].gen }

// ownKeys returns the keys that listener l has of its own, or nil.
func (h *Half) ownKeys(l uint32) *fastKeys {
	if n := h.aux[l].keys; n != 0 && n <= fastKeyed && h.fast.keys[n-1].isOf(h, l) {
		return &h.fast.keys[n-1]
	}
	return nil
}

// fastKeys returns the keys of listener l's cookies.
func (h *Half) fastKeys(l uint32) (first, second *[16]byte) {
	if k := h.ownKeys(l); k != nil {
		return &k.keys[0], &k.keys[1]
	}
	return &h.ctl.secret, &h.ctl.secret
}

// setFastKeys sets the keys of listener l's cookies: clients get those of the first, and
// those of the second are good too. It returns ENOBUFS if too many listeners have some.
func (h *Half) setFastKeys(l uint32, first, second [16]byte) error {
	k := h.ownKeys(l)
	for n := uint32(0); k == nil; n++ {
		if n == fastKeyed {
			return syscall.ENOBUFS
		}
		of := h.fast.keys[n].conn - 1
		if of >= MaxConns || !h.fast.keys[n].isOf(h, of) {
			k = &h.fast.keys[n]
			h.aux[l].keys = n + 1
		}
	}
	*k = fastKeys{l + 1, h.aux[l].gen, [2][16]byte{first, second}}
	return nil
}

// SetFastOpenKeys sets the keys of a listener's cookies (TCP_FASTOPEN_KEY): cookies are
// made with the first and good if made with either. It returns ENOBUFS if 256 sockets of the
// program have keys already.
func (s *Socket) SetFastOpenKeys(first, second [16]byte) error {
	s.t.enter()
	defer s.t.leave()
	return s.t.setFastKeys(s.i, first, second)
}

// FastOpenKeys returns the keys that SetFastOpenKeys has set, if it has.
func (s *Socket) FastOpenKeys() (first, second [16]byte, ok bool) {
	s.t.enter()
	defer s.t.leave()
	if k := s.t.ownKeys(s.i); k != nil {
		return k.keys[0], k.keys[1], true
	}
	return first, second, false
}

// SetFastOpenKeys is Socket.SetFastOpenKeys.
func (d *Direct) SetFastOpenKeys(i uint32, first, second [16]byte) (err error) {
	d.call(func() { err = d.setFastKeys(i, first, second) })
	return err
}
