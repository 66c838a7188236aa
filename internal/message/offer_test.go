package message

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAnOfferIsWhatItsKeepSays(t *testing.T) {
	for _, o := range []Offer{
		{Until: time.Now().Add(time.Hour)},
		{Until: time.Now().Add(time.Minute), Vacant: true},
		{Until: time.Now().Add(24 * time.Hour), Coming: true},
	} {
		o.Name, o.List = Name{1, 2, 3}, 17
		m := o.Keep()
		if m.Type != Keep || m.N != KeepOffer {
			t.Fatalf("%+v", m)
		}
		got, ok := KeptOffer(&m)
		late := got.Until.Sub(o.Until)
		if late < -time.Millisecond || late > time.Minute { // a slow machine's
			t.Errorf("it lasts %v longer than it said", late)
		}
		if got.Until = o.Until; !ok || got != o {
			t.Errorf("%+v, %v; want %+v", got, ok, o)
		}
	}
}

func TestAnOfferThatIsOver(t *testing.T) {
	o := Offer{Until: time.Now().Add(-time.Hour)}
	if m := o.Keep(); m.Socket != 0 {
		t.Errorf("it lasts for %d ms", m.Socket)
	}
}

func TestAKeepThatIsNoOffer(t *testing.T) {
	if o, ok := KeptOffer(&Message{Type: Keep, N: KeepOffer}); ok {
		t.Errorf("an offer without a list: %+v", o)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var files []int
	for _, f := range []*os.File{r, w} {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, fd)
	}
	if o, ok := KeptOffer(&Message{Type: Keep, N: KeepOffer, Files: files}); ok {
		t.Errorf("an offer with two lists: %+v", o)
	}
	for _, fd := range files {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d is still open", fd)
		}
	}
}
