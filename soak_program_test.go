package usertcp

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"usertcp/internal/half"
	"usertcp/internal/testhost"
)

// The long-lived programs of TestSoak, one that serves and one that asks, and one
// that is killed. What each connection is for is said by its port.
const (
	soakEcho = 7001 + iota // whatever comes goes back
	soakSink               // a stream, answered by its length and sum
	soakHTTP               // GET /N: a body of N octets
)

func init() {
	testhost.Register(map[string]func(args []string) error{
		"soak-serve": programSoakServe, "soak-load": programSoakLoad, "soak-victim": programSoakVictim,
	})
}

// soakPattern is what all streams and bodies begin with, again and again.
var soakPattern = func() []byte {
	b := make([]byte, 1<<20)
	fill(b, 77)
	return b
}()

func soakAddr(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// soakReport is what a program says of itself when nothing goes on.
type soakReport struct {
	Goroutines int
	Usage      half.Usage
	Done       map[string]int64 // since it began
}

// report collects what garbage there is, and says what is left. Acknowledgements may
// be on their way for a moment.
func (r soakReport) say() {
	process.Lock()
	s := process.shards[0]
	process.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if r.Usage = s.Usage(); r.Usage.Idle() || time.Now().After(end) {
			break
		}
	}
	runtime.GC()
	debug.FreeOSMemory()
	time.Sleep(50 * time.Millisecond)
	r.Goroutines = runtime.NumGoroutine()
	b, _ := json.Marshal(r)
	say("report %s", b)
}

// programSoakServe HOST serves, and reports when it is asked to.
func programSoakServe(args []string) error {
	for port, serve := range map[int]func(net.Conn){soakEcho: soakServeEcho, soakSink: soakServeSink} {
		l, err := Listen("tcp", soakAddr(args[0], port))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go serve(c)
			}
		}()
	}
	l, err := Listen("tcp", soakAddr(args[0], soakHTTP))
	if err != nil {
		return err
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		w.Write(soakPattern[:min(max(n, 0), len(soakPattern))])
	}))
	if err := sayPids(); err != nil {
		return err
	}
	say("ready")
	for {
		hear()
		soakReport{}.say()
	}
}

func soakServeEcho(c net.Conn) {
	defer c.Close()
	io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
}

// soakServeSink answers a stream with its length and its sum.
func soakServeSink(c net.Conn) {
	defer c.Close()
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, struct{ io.Reader }{c})
	if err != nil {
		return
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(n))
	c.Write(binary.BigEndian.AppendUint32(b, sum.Sum32()))
}

// soaker is the program that asks.
type soaker struct {
	host string
	stop atomic.Bool
	web  *http.Transport
	done map[string]*atomic.Int64
}

// programSoakLoad HOST works from "go" to "stop", and reports then; again and again.
func programSoakLoad(args []string) error {
	if err := sayPids(); err != nil {
		return err
	}
	s := &soaker{host: args[0], done: map[string]*atomic.Int64{}}
	kinds := map[string]func(*rand.Rand) error{"rr": s.rr, "crr": s.crr, "stream": s.stream, "http": s.http}
	workers := map[string]int{"rr": 4, "crr": 2, "stream": 2, "http": 8}
	for kind := range kinds {
		s.done[kind] = new(atomic.Int64)
	}
	for round := uint64(0); ; round++ {
		if hear() != "go" {
			return errors.New("not told to go")
		}
		s.stop.Store(false)
		s.web = &http.Transport{DialContext: (&Dialer{}).DialContext, MaxIdleConnsPerHost: workers["http"]}
		var all sync.WaitGroup
		failed := make(chan error, 64)
		for kind, work := range kinds {
			for w := range workers[kind] {
				all.Go(func() {
					r := rand.New(rand.NewPCG(round, uint64(w)))
					for !s.stop.Load() {
						if err := work(r); err != nil {
							failed <- fmt.Errorf("%s: %w", kind, err)
							return
						}
					}
				})
			}
		}
		hear()
		s.stop.Store(true)
		all.Wait()
		s.web.CloseIdleConnections()
		close(failed)
		if err := <-failed; err != nil {
			return err
		}
		s.report()
	}
}

func (s *soaker) report() {
	r := soakReport{Done: map[string]int64{}}
	for kind, n := range s.done {
		r.Done[kind] = n.Load()
	}
	r.say()
}

// dial connects, for a minute at most.
func (s *soaker) dial(port int) (net.Conn, error) {
	c, err := DialTimeout("tcp", soakAddr(s.host, port), patience)
	if err == nil {
		err = c.SetDeadline(time.Now().Add(time.Minute))
	}
	return c, err
}

// soakExchange has some octets echoed.
func soakExchange(c net.Conn, n int, buf []byte) error {
	if _, err := c.Write(soakPattern[:n]); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, buf[:n]); err != nil {
		return err
	}
	if !equal(buf[:n], soakPattern[:n]) {
		return errors.New("other octets come back than were sent")
	}
	return nil
}

func (s *soaker) rr(r *rand.Rand) error {
	c, err := s.dial(soakEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 4096)
	for range 2000 {
		if s.stop.Load() {
			break
		}
		if err := soakExchange(c, 1+r.IntN(len(buf)), buf); err != nil {
			return err
		}
		s.done["rr"].Add(1)
	}
	return nil
}

func (s *soaker) crr(r *rand.Rand) error {
	c, err := s.dial(soakEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := soakExchange(c, 100, make([]byte, 100)); err != nil {
		return err
	}
	s.done["crr"].Add(1)
	time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
	return nil
}

func (s *soaker) stream(r *rand.Rand) error {
	c, err := s.dial(soakSink)
	if err != nil {
		return err
	}
	defer c.Close()
	sum, sent := crc32.NewIEEE(), 0
	for size := r.IntN(64 << 20); sent < size && !s.stop.Load(); {
		n := 1 + r.IntN(256<<10)
		if _, err := c.Write(soakPattern[:n]); err != nil {
			return err
		}
		sum.Write(soakPattern[:n])
		sent += n
	}
	if err := c.(*Conn).CloseWrite(); err != nil {
		return err
	}
	var b [12]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if n, got := binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint32(b[8:]); int(n) != sent || got != sum.Sum32() {
		return fmt.Errorf("%d octets arrived of %d, or others", n, sent)
	}
	s.done["stream"].Add(int64(sent))
	return nil
}

func (s *soaker) http(r *rand.Rand) error {
	n := r.IntN(100_000)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, "GET", "http://"+soakAddr(s.host, soakHTTP)+"/"+strconv.Itoa(n), nil)
	if err != nil {
		return err
	}
	a, err := s.web.RoundTrip(q)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil || !equal(b, soakPattern[:n]) {
		return fmt.Errorf("%d octets of %d: %w", len(b), n, err)
	}
	s.done["http"].Add(1)
	return nil
}

// programSoakVictim HOST sends until it is killed.
func programSoakVictim(args []string) error {
	c, err := DialTimeout("tcp", soakAddr(args[0], soakSink), patience)
	if err != nil {
		return err
	}
	for {
		if _, err := c.Write(soakPattern); err != nil {
			return err
		}
	}
}
