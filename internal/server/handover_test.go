package server

import (
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

func TestOffersAreEachUsersOwn(t *testing.T) {
	var o offers
	mine, other := &child{}, &child{}
	name := message.Name{1}
	for _, uid := range []int{1000, 1000} {
		if !o.put(offerKey{uid, name}, mine) {
			t.Fatal("a free name, or one's own, is not to be had")
		}
	}
	if !o.put(offerKey{1001, name}, other) {
		t.Fatal("another user's name is in the way")
	}
	if o.put(offerKey{1000, name}, other) {
		t.Error("a name is two children's")
	}
	for _, c := range []struct {
		key   offerKey
		want  *child
		errno unix.Errno
	}{
		{offerKey{1000, name}, mine, 0},
		{offerKey{1001, name}, other, 0},
		{offerKey{0, name}, nil, unix.EPERM},
		{offerKey{1000, message.Name{2}}, nil, unix.ENOENT},
	} {
		if got, errno := o.find(c.key); got != c.want || errno != c.errno {
			t.Errorf("user %d gets %p, %v; want %p, %v", c.key.uid, got, errno, c.want, c.errno)
		}
	}
	o.remove(offerKey{1000, name}, other) // not its own
	o.remove(offerKey{1001, name}, other)
	if _, errno := o.find(offerKey{1001, name}); errno != unix.EPERM {
		t.Errorf("what was removed: %v", errno)
	}
}

// An application that says what only a child says is sent away, and one that asks for
// nothing that is there is told so.
func TestAnApplicationsTakeOver(t *testing.T) {
	s, err := Start(config(t.TempDir(), addr1))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		version, files int
		errno          unix.Errno
	}{
		{message.Version, 1, unix.ENOENT}, {message.Version + 1, 1, unix.EPROTONOSUPPORT}, {message.Version, 0, unix.EINVAL},
	} {
		ch, err := message.Dial(s.cfg.Socket)
		if err != nil {
			t.Fatal(err)
		}
		mine, theirs, err := message.Pair()
		if err != nil {
			t.Fatal(err)
		}
		m := message.Message{Type: message.TakeOver, N: uint32(c.version), Files: []int{int(theirs.Fd())}[:c.files]}
		if err := ch.SendMessage(&m); err != nil {
			t.Fatal(err)
		}
		if err := ch.RecvMessage(&m, message.Server, message.User); err != nil || unix.Errno(m.Errno) != c.errno {
			t.Errorf("version %d with %d descriptors: %v, %v", c.version, c.files, unix.Errno(m.Errno), err)
		}
		theirs.Close()
		mine.Close()
		ch.Close()
	}
	ch, err := message.Dial(s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	m := message.Message{Type: message.HandOver}
	if err := ch.SendMessage(&m); err != nil {
		t.Fatal(err)
	}
	if err := ch.RecvMessage(&m, message.Server, message.User); err == nil {
		t.Errorf("an answer: %+v", m)
	}
}
