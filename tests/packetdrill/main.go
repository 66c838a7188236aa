// Command packetdrill is a shared library (-buildmode=c-shared) that gives
// packetdrill user-space TCP to test, through its --so_filename:
//
//	go build -buildmode=c-shared -o usertcp.so ./tests/packetdrill
//	packetdrill --so_filename=$PWD/usertcp.so --so_flags=ip=192.168.0.1,mtu=1500 SCRIPT
//
// It exports packetdrill_interface_init, which fills in a table of functions
// that look like system calls. What they do is in package stack; only what C
// needs belongs here.
package main

/*
#include "shim.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/cgo"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"usertcp/internal/wire"
	"usertcp/tests/packetdrill/stack"
)

func main() {}

//export pdNew
func pdNew(flags *C.char) C.uintptr_t {
	var options string
	if flags != nil {
		options = C.GoString(flags)
	}
	s, err := stack.New(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, "usertcp:", err)
		os.Exit(1)
	}
	return C.uintptr_t(cgo.NewHandle(s))
}

func of(h C.uintptr_t) *stack.Stack { return cgo.Handle(h).Value().(*stack.Stack) }

// result is what a call returns: n, or the negative errno.
func result(n int, errno unix.Errno) C.long {
	if errno != 0 {
		return C.long(-int(errno))
	}
	return C.long(n)
}

func octets(p unsafe.Pointer, n C.size_t) []byte {
	if p == nil || n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), int(n))
}

//export pdFree
func pdFree(h C.uintptr_t) {
	of(h).Close()
	cgo.Handle(h).Delete()
}

//export pdSocket
func pdSocket(h C.uintptr_t, domain, typ, proto C.int) C.long {
	of(h).SetOffload(C.pdOffload() != 0)
	return result(of(h).Socket(int(domain), int(typ), int(proto)))
}

// endpoint reads a struct sockaddr.
func endpoint(p unsafe.Pointer, n C.uint) (e wire.Endpoint, ok bool) {
	b := octets(p, C.size_t(n))
	if len(b) < 2 || !mapped(p, C.size_t(n)) {
		return e, false
	}
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET && len(b) >= 16:
		e.Addr = wire.Addr{10: 0xff, 11: 0xff, 12: b[4], 13: b[5], 14: b[6], 15: b[7]}
	case family == unix.AF_INET6 && len(b) >= 24:
		copy(e.Addr[:], b[8:24])
	default:
		return e, false
	}
	e.Port = binary.BigEndian.Uint16(b[2:])
	return e, true
}

// putEndpoint writes a struct sockaddr of a socket's family, as much of it as there
// is room for.
func putEndpoint(e wire.Endpoint, family int, p unsafe.Pointer, n *C.uint) {
	if p == nil || !mapped(unsafe.Pointer(n), C.sizeof_uint) || !mapped(p, C.size_t(*n)) {
		return
	}
	var b [28]byte
	size := 16
	if family == unix.AF_INET {
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
		copy(b[4:], e.Addr[12:])
	} else {
		size = 28
		binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
		copy(b[8:], e.Addr[:])
	}
	binary.BigEndian.PutUint16(b[2:], e.Port)
	copy(octets(p, C.size_t(*n)), b[:size])
	*n = C.uint(size)
}

//export pdBind
func pdBind(h C.uintptr_t, fd C.int, addr unsafe.Pointer, n C.uint) C.long {
	e, ok := endpoint(addr, n)
	if !ok {
		return result(0, unix.EINVAL)
	}
	return result(0, of(h).Bind(int(fd), e))
}

//export pdListen
func pdListen(h C.uintptr_t, fd, backlog C.int) C.long {
	return result(0, of(h).Listen(int(fd), int(backlog)))
}

//export pdAccept
func pdAccept(h C.uintptr_t, fd C.int, addr unsafe.Pointer, n *C.uint) C.long {
	nfd, e, errno := of(h).Accept(int(fd))
	if errno == 0 {
		putEndpoint(e, of(h).Family(nfd), addr, n)
	}
	return result(nfd, errno)
}

//export pdConnect
func pdConnect(h C.uintptr_t, fd C.int, addr unsafe.Pointer, n C.uint) C.long {
	e, ok := endpoint(addr, n)
	if !ok {
		return result(0, unix.EINVAL)
	}
	return result(0, of(h).Connect(int(fd), e))
}

//export pdRead
func pdRead(h C.uintptr_t, fd C.int, p unsafe.Pointer, n C.size_t, flags C.int) C.long {
	if !mapped(p, n) {
		return result(of(h).ReadNowhere(int(fd), int(flags)))
	}
	return result(of(h).Read(int(fd), octets(p, n), int(flags)))
}

//export pdWrite
func pdWrite(h C.uintptr_t, fd C.int, p unsafe.Pointer, n C.size_t, flags C.int) C.long {
	if !mapped(p, n) {
		return result(of(h).WriteNowhere(int(fd)))
	}
	return result(of(h).Write(int(fd), octets(p, n), int(flags)))
}

//export pdWriteFirst
func pdWriteFirst(h C.uintptr_t, fd C.int, p unsafe.Pointer, n C.size_t, flags C.int, addr unsafe.Pointer, size C.uint) C.long {
	e, errno := destination(addr, size)
	if errno != 0 {
		return result(0, errno)
	}
	ok := mapped(p, n)
	var b []byte
	if ok {
		b = octets(p, n)
	}
	return result(of(h).WriteFirst(int(fd), b, ok, int(flags), e))
}

//export pdWritevFirst
func pdWritevFirst(h C.uintptr_t, fd C.int, v unsafe.Pointer, n, flags C.int, addr unsafe.Pointer, size C.uint) C.long {
	e, errno := destination(addr, size)
	if errno != 0 {
		return result(0, errno)
	}
	parts, _, ok := vector(v, n)
	return result(of(h).WriteFirst(int(fd), bytes.Join(parts, nil), ok, int(flags), e))
}

// destination reads the address of a sendto that opens a connection.
func destination(p unsafe.Pointer, n C.uint) (e wire.Endpoint, errno unix.Errno) {
	if b := octets(p, C.size_t(n)); len(b) >= 2 && mapped(p, 2) && binary.NativeEndian.Uint16(b) == unix.AF_UNSPEC {
		return e, unix.EOPNOTSUPP
	}
	e, ok := endpoint(p, n)
	if !ok {
		return e, unix.EINVAL
	}
	return e, 0
}

//export pdReadv
func pdReadv(h C.uintptr_t, fd C.int, v unsafe.Pointer, n, flags C.int) C.long {
	parts, size, ok := vector(v, n)
	if !ok {
		return result(of(h).ReadNowhere(int(fd), int(flags)))
	}
	b := make([]byte, size)
	got, errno := of(h).Read(int(fd), b, int(flags))
	for rest := b[:max(got, 0)]; len(parts) > 0; parts = parts[1:] {
		rest = rest[copy(parts[0], rest):]
	}
	return result(got, errno)
}

//export pdWritev
func pdWritev(h C.uintptr_t, fd C.int, v unsafe.Pointer, n, flags C.int) C.long {
	parts, _, ok := vector(v, n)
	if !ok {
		return result(of(h).WriteNowhere(int(fd)))
	}
	return result(of(h).Write(int(fd), bytes.Join(parts, nil), int(flags)))
}

// vector returns the parts of a struct iovec [n] and their size, or false if some of
// it is not the program's memory.
func vector(p unsafe.Pointer, n C.int) (parts [][]byte, size int, ok bool) {
	if n < 0 || n > iovMax || !mapped(p, C.size_t(n)*C.size_t(unsafe.Sizeof(unix.Iovec{}))) {
		return nil, 0, false
	}
	for _, v := range unsafe.Slice((*unix.Iovec)(p), int(n)) {
		if !mapped(unsafe.Pointer(v.Base), C.size_t(v.Len)) {
			return nil, 0, false
		}
		parts = append(parts, octets(unsafe.Pointer(v.Base), C.size_t(v.Len)))
		size += int(v.Len)
	}
	return parts, size, true
}

// iovMax is UIO_MAXIOV.
const iovMax = 1024

// mapped reports whether the n octets at p are the program's memory, by what the
// kernel says when it is asked for an octet of each page.
func mapped(p unsafe.Pointer, n C.size_t) bool {
	if n == 0 {
		return true
	}
	page, at := uintptr(os.Getpagesize()), uintptr(p)
	last := at + uintptr(n) - 1
	for at != 0 && at <= last {
		var remote []unix.RemoteIovec
		for ; len(remote) < iovMax && at <= last; at = (at/page + 1) * page {
			remote = append(remote, unix.RemoteIovec{Base: at, Len: 1})
		}
		b := make([]byte, len(remote))
		local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
		if got, err := unix.ProcessVMReadv(os.Getpid(), local, remote, 0); err != nil || got != len(b) {
			return false
		}
	}
	return at > last
}

//export pdFcntl
func pdFcntl(h C.uintptr_t, fd, cmd C.int, arg C.long) C.long {
	return result(of(h).Fcntl(int(fd), int(cmd), int(arg)))
}

//export pdIoctl
func pdIoctl(h C.uintptr_t, fd C.int, request C.ulong, arg *C.int) C.long {
	v, errno := of(h).Ioctl(int(fd), uint(request))
	if errno == 0 && !mapped(unsafe.Pointer(arg), C.sizeof_int) {
		errno = unix.EFAULT
	}
	if errno == 0 {
		*arg = C.int(v)
	}
	return result(0, errno)
}

//export pdClose
func pdClose(h C.uintptr_t, fd C.int) C.long { return result(0, of(h).CloseDescriptor(int(fd))) }

//export pdShutdown
func pdShutdown(h C.uintptr_t, fd, how C.int) C.long {
	return result(0, of(h).Shutdown(int(fd), int(how)))
}

//export pdGetsockopt
func pdGetsockopt(h C.uintptr_t, fd, level, name C.int, p unsafe.Pointer, n *C.uint) C.long {
	if !mapped(unsafe.Pointer(n), C.sizeof_uint) || !mapped(p, C.size_t(*n)) {
		return result(0, unix.EFAULT)
	}
	size, errno := of(h).Getsockopt(int(fd), int(level), int(name), octets(p, C.size_t(*n)))
	if errno == 0 {
		*n = C.uint(size)
	}
	return result(0, errno)
}

//export pdSetsockopt
func pdSetsockopt(h C.uintptr_t, fd, level, name C.int, p unsafe.Pointer, n C.uint) C.long {
	if !mapped(p, C.size_t(n)) {
		return result(0, unix.EFAULT)
	}
	return result(0, of(h).Setsockopt(int(fd), int(level), int(name), octets(p, C.size_t(n))))
}

//export pdPoll
func pdPoll(h C.uintptr_t, fds unsafe.Pointer, n C.ulong, timeout C.int) C.long {
	if !mapped(fds, C.size_t(n)*C.size_t(unsafe.Sizeof(unix.PollFd{}))) {
		return result(0, unix.EFAULT)
	}
	return C.long(of(h).Poll(unsafe.Slice((*unix.PollFd)(fds), int(n)), int(timeout)))
}

//export pdEpollCreate
func pdEpollCreate(h C.uintptr_t, size C.int) C.long { return result(of(h).EpollCreate(int(size))) }

//export pdEpollCtl
func pdEpollCtl(h C.uintptr_t, efd, op, fd C.int, ev unsafe.Pointer) C.long {
	var event unix.EpollEvent
	if op != unix.EPOLL_CTL_DEL {
		if !mapped(ev, C.size_t(unsafe.Sizeof(event))) {
			return result(0, unix.EFAULT)
		}
		event = *(*unix.EpollEvent)(ev)
	}
	return result(0, of(h).EpollCtl(int(efd), int(op), int(fd), event))
}

//export pdEpollWait
func pdEpollWait(h C.uintptr_t, efd C.int, events unsafe.Pointer, n, timeout C.int) C.long {
	if n <= 0 {
		return result(0, unix.EINVAL)
	}
	if !mapped(events, C.size_t(n)*C.size_t(unsafe.Sizeof(unix.EpollEvent{}))) {
		return result(0, unix.EFAULT)
	}
	return result(of(h).EpollWait(int(efd), unsafe.Slice((*unix.EpollEvent)(events), int(n)), int(timeout)))
}

//export pdSplice
func pdSplice(h C.uintptr_t, from C.int, fromAt unsafe.Pointer, to C.int, toAt unsafe.Pointer, n C.size_t, flags C.uint) C.long {
	// packetdrill hands over what its script has for an offset, 0 for NULL.
	for _, at := range []unsafe.Pointer{fromAt, toAt} {
		if at != nil && (!mapped(at, 8) || *(*int64)(at) != 0) {
			return result(0, unix.ESPIPE)
		}
	}
	return result(of(h).Splice(int(from), int(to), int(n), int(flags)))
}

//export pdSendfile
func pdSendfile(h C.uintptr_t, fd, file C.int, at unsafe.Pointer, n C.size_t) C.long {
	if at != nil && !mapped(at, 8) {
		return result(0, unix.EFAULT)
	}
	return result(of(h).SendFile(int(fd), int(file), (*int64)(at), int(n)))
}

//export pdInq
func pdInq(h C.uintptr_t, fd C.int) C.int { return C.int(of(h).Inq(int(fd))) }

//export pdOwns
func pdOwns(h C.uintptr_t, fd C.int) C.int {
	if of(h).Owns(int(fd)) {
		return 1
	}
	return 0
}

//export pdSend
func pdSend(h C.uintptr_t, p unsafe.Pointer, n C.size_t) C.long {
	of(h).Inject(octets(p, n))
	return 0
}

//export pdReceive
func pdReceive(h C.uintptr_t, p unsafe.Pointer, n *C.size_t, usecs *C.longlong) C.long {
	ip, at, ok := of(h).Receive()
	if !ok {
		fmt.Fprintln(os.Stderr, "usertcp: no packet left in time")
		os.Exit(1)
	}
	*n = C.size_t(copy(octets(p, *n), ip))
	*usecs = C.longlong(at.UnixMicro())
	return 0
}

//export pdSleep
func pdSleep(usec C.uint) { time.Sleep(time.Duration(usec) * time.Microsecond) }
