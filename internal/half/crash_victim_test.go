package half

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/pool"
	"usertcp/internal/pool/ring"
	"usertcp/internal/shm"
	"usertcp/internal/tcp"
	"usertcp/internal/wire"
)

// The process that dies is the test binary again: it maps the memory of a host,
// says that it is ready, and does one step between two signals to itself, at
// which whoever traces it begins and ends to look.

const victimEnv = "USERTCP_TEST_VICTIM"

func init() { runtime.LockOSThread() } // the step is run by the thread that is traced

func TestMain(m *testing.M) {
	if spec := os.Getenv(victimEnv); spec != "" {
		if err := victim(spec); err != nil {
			fmt.Fprintln(os.Stderr, "victim:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Descriptors that the victim inherits.
const (
	victimSeg = 3 + iota
	victimPage
	victimTop
	victimBottom
	victimOwn
	victimPeer // its memory, bell and doorbells

	victimTAP = victimOwn
)

// victimSpec is what the victim has to know: the case, the time, and what prepare
// has returned.
func victimSpec(name string, w *crashWorld, at []uint32) string {
	s := fmt.Sprintf("%s;%d;%d", name, w.now, w.circuit)
	for _, x := range at {
		s += fmt.Sprintf(";%d", x)
	}
	return s
}

func victim(spec string) error {
	words := strings.Split(spec, ";")
	c, err := caseNamed(words[0])
	if err != nil {
		return err
	}
	now, _ := strconv.ParseUint(words[1], 10, 64)
	circuit, _ := strconv.ParseUint(words[2], 10, 16)
	var at []uint32
	for _, w := range words[3:] {
		x, _ := strconv.ParseUint(w, 10, 32)
		at = append(at, uint32(x))
	}
	w := &crashWorld{now: tcp.Time(now), circuit: uint16(circuit), devices: circuit == pool.NIC}
	h := &crashHost{t: &testing.T{}, w: w, tap: victimTAP, addr: victimAddr(1), vci: wire.NewVCI(1, 1)}
	h.w.a = h
	if err := h.inherit(); err != nil {
		return err
	}
	h.halves()
	step := c.run(h, at)
	debug.SetGCPercent(-1)
	pid, tid := unix.Getpid(), unix.Gettid()
	fmt.Println("ready", tid)
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(unix.SIGUSR1))
	step()
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(unix.SIGUSR1))
	return nil
}

func victimAddr(n byte) wire.Addr { return wire.AddrFrom(netip.AddrFrom4([4]byte{10, 1, 0, n})) }

// inherit maps what the test has made.
func (h *crashHost) inherit() (err error) {
	if h.seg, err = shm.Attach(victimSeg, Version, true); err != nil {
		return err
	}
	if h.page, err = shm.Attach(victimPage, ring.Version, true); err != nil {
		return err
	}
	for i := range h.doors {
		if h.doors[i], err = shm.DoorbellFrom(victimTop + i); err != nil {
			return err
		}
	}
	if err = h.drive(); err != nil || h.w.devices {
		return err
	}
	h.drv.Changed()
	return h.ring.Map(0, []int{victimOwn, victimPeer, victimPeer + 1, victimPeer + 2, victimPeer + 3})
}

// files are what the victim inherits.
func (h *crashHost) files(peer *crashHost) []int {
	if h.w.devices {
		return []int{h.seg.Fd(), h.page.Fd(), h.doors[0].Fd(), h.doors[1].Fd(), h.tap}
	}
	p := peer.offers()
	return append([]int{h.seg.Fd(), h.page.Fd(), h.doors[0].Fd(), h.doors[1].Fd(), h.own.Fd()}, p.Files()...)
}

func crashConnect(h *crashHost, at []uint32) {
	h.bottom.Connect(at[0], crashFlow(h), h.w.circuit)
}

// crashFlow is a connection that host a opens.
func crashFlow(h *crashHost) wire.Flow {
	return wire.Flow{Local: wire.Endpoint{Addr: h.addr, Port: 3001}, Remote: wire.Endpoint{Addr: victimAddr(2), Port: 82}}
}

// crashConnectAfter is crashConnect for a connection that follows another one.
func crashConnectAfter(h *crashHost, at []uint32) func() {
	f := crashFlow(h)
	was, ok := tcp.ParseRemnant((&tcp.Remnant{Flow: f, End: tcp.TimeWaitLength}).Append(nil))
	if !ok {
		panic("BUG: not a remnant")
	}
	return func() {
		if !h.bottom.ConnectAfter(at[0], f, h.w.circuit, &was) {
			panic("BUG: nothing is tried")
		}
	}
}

// crashSyn returns a SYN for a's listener, as the connection server brings it.
func crashSyn(h *crashHost) []byte {
	b := make([]byte, 40)
	ip := wire.IP{Src: victimAddr(2), Dst: h.addr, Proto: protoTCP, TTL: 64}
	t := wire.TCP{SrcPort: 4001, DstPort: crashPort, Seq: 77, Flags: wire.SYN, Window: 1000}
	n := ip.Emit(b, t.Len())
	t.Emit(b[n:])
	sum := wire.TCPChecksum(&ip.Src, &ip.Dst, b[n:], nil)
	b[n+16], b[n+17] = byte(sum>>8), byte(sum)
	return b
}
