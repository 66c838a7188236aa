package nic

import (
	"errors"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// What the path from one pool's TAP over a veth pair to another's can carry, without a
// TCP: template, route, wire, demultiplexer.
func BenchmarkFrames(b *testing.B) {
	for _, row := range []struct {
		name    string
		payload int
	}{{"64000", 64000}, {"1460", 1460}} {
		b.Run(row.name, func(b *testing.B) { benchmarkFrames(b, row.payload) })
	}
}

func benchmarkFrames(b *testing.B, payload int) {
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Skip(err)
	}
	defer stats.Close()
	from, to := testnet.New(b), testnet.New(b)
	testnet.Pair(from, to, 1500)
	p, q := benchPool(b, from), benchPool(b, to)
	if err := errors.Join(p.Connect(flow("10.9.0.1:1000", "10.9.0.2:2000")), q.Connect(flow("10.9.0.2:2000", "10.9.0.1:1000"))); err != nil {
		b.Fatal(err)
	}
	s := segment{src: "10.9.0.1:1000", dst: "10.9.0.2:2000", payload: string(make([]byte, payload)), virtio: partial(34, 16)}
	if payload > 1460 {
		s.virtio = gso(unix.VIRTIO_NET_HDR_GSO_TCPV4, 1460, 34)
	}
	frame := append(s.virtio[:], s.frame(b)...)
	got := make(chan int)
	go func() {
		n := 0
		for receive(q) {
			n++
		}
		got <- n
	}()
	b.SetBytes(int64(payload))
	b.ResetTimer()
	for range b.N {
		if _, err := p.File().Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(spent(b, p.m.kernel.UsertcpTemplate), "template-ns")
	b.ReportMetric(spent(b, q.m.kernel.UsertcpDemux), "demux-ns")
	b.ReportMetric(float64(<-got)/float64(b.N), "arrived")
}

// receive takes a frame, and reports whether one came within half a second.
func receive(p *Pool) (ok bool) {
	var buf [1 << 17]byte
	raw, err := p.File().SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		_, err := unix.Read(int(fd), buf[:])
		if errors.Is(err, unix.EAGAIN) {
			await(int(fd), 500*time.Millisecond)
			_, err = unix.Read(int(fd), buf[:])
		}
		ok = err == nil
	})
	return ok
}

// spent returns what a run of a program takes, ns.
func spent(b *testing.B, p *ebpf.Program) float64 {
	s, err := p.Stats()
	if err != nil {
		b.Fatal(err)
	}
	return float64(s.Runtime) / float64(max(s.RunCount, 1))
}

func benchPool(b *testing.B, in *testnet.Namespace) *Pool {
	b.Helper()
	m, err := tryOpen(b, in, Config{Devices: in.Devices()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { m.Close() })
	p, err := m.NewPool(1)
	if err != nil {
		b.Fatal(err)
	}
	return p
}
