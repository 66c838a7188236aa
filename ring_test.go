package usertcp

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"usertcp/internal/server"
	"usertcp/internal/testhost"
)

// A VCI has four bits for the ring id.
func TestRingThatIsFull(t *testing.T) {
	dir := testhost.Dir(t)
	var hosts []*server.Server
	defer func() {
		for _, h := range hosts {
			h.Close()
		}
	}()
	start := func(i int) error {
		a := netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})
		h, err := server.Start(server.Config{
			Ring: filepath.Join(dir, "ring"), Socket: filepath.Join(dir, a.String()), Addrs: []netip.Addr{a},
		})
		if err == nil {
			hosts = append(hosts, h)
		}
		return err
	}
	var err error
	for i := 1; err == nil && i <= 20; i++ {
		err = start(i)
	}
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("%d hosts fit; then: %v", len(hosts), err)
	}
	if n := len(hosts); n < 15 || n > 16 {
		t.Errorf("%d hosts fit onto a ring", n)
	}
	hosts[3].Close()
	if err := start(99); err != nil {
		t.Errorf("after a host has left: %v", err)
	}
}
