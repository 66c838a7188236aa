package hostile

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/wire"
)

// unmap takes the segment away under the library, whose goroutines are in it, in one
// call of which the next one does not come back.
func unmap(v *victim) error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for in := bufio.NewScanner(maps); in.Scan(); {
		var from, to uintptr
		if !strings.Contains(in.Text(), "/memfd:usertcp-segment") {
			continue
		}
		if _, err := fmt.Sscanf(in.Text(), "%x-%x", &from, &to); err == nil {
			unix.Syscall(unix.SYS_MUNMAP, from, to-from, 0)
		}
	}
	for {
		time.Sleep(time.Hour) // whoever looks after the segment in this process has died of it, or does now
	}
}

// to returns the channels to this program's child, or those to its server: the first
// it has made itself.
func (v *victim) to(child bool) (fds []int) {
	for _, fd := range v.sockets {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && (int(cred.Pid) == os.Getpid()) == child {
			fds = append(fds, fd)
		}
	}
	return fds
}

// floodChild sends whatever a program may ask its child for, and does not read what
// comes back.
func floodChild(v *victim) error {
	requests := []message.Message{
		{Type: message.Bind, Local: wire.Endpoint{Port: uint16(v.r.IntN(1 << 16))}, N: 1},
		{Type: message.ListenChild, N: 100},
		{Type: message.Connect, Remote: endpointOf(v.address)},
		{Type: message.NewSocket, Op: message.OpLink},
		{Type: message.SetTxBufs, N: 1 + v.r.Uint32N(600)},
		{Type: message.SetRxBufs, N: 1 + v.r.Uint32N(9000)},
		{Type: message.SetReuseAddr, N: 1},
	}
	for range 100 {
		m := requests[v.r.IntN(len(requests))]
		m.ID, m.Socket = v.r.Uint32(), v.r.Uint32N(200)
		v.flood(v.to(true), &m)
	}
	return nil
}

// floodServer does the same with its server.
func floodServer(v *victim) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	requests := []message.Message{
		{Type: message.Status, N: message.Version, Files: []int{int(w.Fd())}},
		{Type: message.Spawn, N: message.Version, Files: []int{int(w.Fd())}},
		{Type: message.End, Socket: 1 + v.r.Uint32N(1<<15)},
		{Type: message.End, Local: endpointOf(v.address), Remote: endpointOf(v.address)},
		{Type: message.TakeOver, N: message.Version, Files: []int{int(w.Fd())}},
	}
	for range 20 {
		m := requests[v.r.IntN(len(requests))]
		m.ID = v.r.Uint32()
		v.flood(v.to(false), &m)
	}
	// A server that has had enough hangs up: there are more where this one came from.
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err == nil {
		if unix.Connect(fd, &unix.SockaddrUnix{Name: os.Getenv("USERTCP_SERVER")}) != nil {
			unix.Close(fd)
			return nil
		}
		if v.sockets = append(v.sockets, fd); len(v.sockets) > 50 {
			unix.Close(v.sockets[10])
			v.sockets = append(v.sockets[:10], v.sockets[11:]...)
		}
	}
	return nil
}

func endpointOf(address string) wire.Endpoint {
	return wire.EndpointFrom(netip.MustParseAddrPort(address))
}

// flood sends m over all of fds, as often as there is room.
func (v *victim) flood(fds []int, m *message.Message) {
	b := m.Append(nil)
	var rights []byte
	if len(m.Files) > 0 {
		rights = unix.UnixRights(m.Files...)
	}
	for _, fd := range fds {
		unix.SendmsgN(fd, b, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
}

// fill takes all the memory that the segment has room for, and leaves what is in it.
func fill(v *victim) error {
	const step = 1 << 20
	for at := 0; at+step <= len(v.segment); at += step {
		if err := unix.Madvise(v.segment[at:at+step], unix.MADV_POPULATE_WRITE); err != nil {
			return err
		}
	}
	return nil
}
