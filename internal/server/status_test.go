package server

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
)

func TestStatusTellsOfChildren(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	a, b := spawn(t, s), spawn(t, s)
	a.listen(1, "10.1.0.1:80")
	snap, err := Status(t.Context(), s.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Children) != 2 || snap.RingID != s.RingID() || snap.Counters.Spawned != 2 {
		t.Fatalf("%+v", snap)
	}
	first := snap.Children[0]
	if first.VCI != a.vci || first.Ports != 1 || first.AppPID != os.Getpid() || first.PID != s.child(a.vci).pid() {
		t.Errorf("%+v", first)
	}
	if snap.Children[1].VCI != b.vci {
		t.Errorf("%+v", snap.Children[1])
	}
	if _, err := Status(t.Context(), s.cfg.Socket+"-not"); err == nil {
		t.Error("of no server")
	}
}

func TestStatusGoesIntoPipesOnly(t *testing.T) {
	s := start(t, t.TempDir(), addr1)
	f, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, files := range [][]int{nil, {int(f.Fd())}} {
		errno, err := request(t, s, message.Message{Type: message.Status, N: message.Version, Files: files})
		if err != nil || errno != unix.EINVAL {
			t.Errorf("%v: %v, %v", files, errno, err)
		}
	}
}
