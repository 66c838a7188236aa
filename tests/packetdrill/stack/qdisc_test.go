package stack

import (
	"encoding/binary"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// fifo gives a device a pfifo of so many places.
func fifo(t *testing.T, l netlink.Link, places uint32) {
	t.Helper()
	ask := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	ask.AddData(&nl.TcMsg{Ifindex: int32(l.Attrs().Index), Parent: netlink.HANDLE_ROOT})
	ask.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("pfifo")))
	ask.AddData(nl.NewRtAttr(nl.TCA_OPTIONS, binary.NativeEndian.AppendUint32(nil, places)))
	if _, err := ask.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		t.Fatal(err)
	}
}

func TestQueueingDisciplineOfTheScriptsDevice(t *testing.T) {
	testnet.New(t).Do(func() {
		var q queueing
		defer q.close()
		if q.refuses() {
			t.Error("a device that is not there refuses packets")
		}
		l := addScriptDevice(t)
		for i, places := range []uint32{0, 10, 0, 1} {
			fifo(t, l, places)
			if q.refuses() != (places == 0) {
				t.Errorf("change %d: with %d places: refuses %v", i, places, places != 0)
			}
			if q.refuses() != (places == 0) {
				t.Errorf("change %d is forgotten", i)
			}
		}
	})
}

// addScriptDevice makes the device that scripts want.
func addScriptDevice(t *testing.T) netlink.Link {
	t.Helper()
	if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: scriptDevice}}); err != nil {
		t.Skip("no dummy devices here:", err)
	}
	l, err := netlink.LinkByName(scriptDevice)
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}
