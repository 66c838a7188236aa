package hostile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"usertcp"
	"usertcp/internal/testhost"
)

// A hostile program gets ADDRESS WAY [USER]: as that user it connects, has data on its way, says
// "begun", and does its worst until it is killed.
func init() {
	testhost.Programs["hostile"] = func(args []string) int {
		way := ways[args[1]]
		if args[1] == "fills its segment" {
			way = fill
		}
		var err error
		if len(args) > 2 {
			uid, _ := strconv.Atoi(args[2])
			err = errors.Join(unix.Setgid(uid), unix.Setuid(uid))
		}
		if err == nil {
			err = hostile(args[0], way)
		}
		fmt.Fprintln(os.Stderr, "hostile program:", err)
		return 1
	}
}

// ways are what it does, again and again.
var ways = map[string]func(v *victim) error{
	"scribbles over all of it": func(v *victim) error {
		v.scribble(0, len(v.segment))
		return nil
	},
	"scribbles over what is in use": func(v *victim) error {
		v.scribble(4096, 1<<20)
		return nil
	},
	"scribbles over the lock": func(v *victim) error {
		v.scribble(8192, 64)
		return nil
	},
	"takes the lock and keeps it": func(v *victim) error {
		v.segment[8192] = 1
		return nil
	},
	"truncates": func(v *victim) error {
		if unix.Ftruncate(v.fd, 0) == nil {
			return errors.New("the segment could be truncated")
		}
		// Holes can be made: what reads them finds zeros.
		return unix.Fallocate(v.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(v.segment)))
	},
	"sends garbage to its child and its server": func(v *victim) error {
		b := make([]byte, 1+v.r.IntN(300))
		for k := range b {
			b[k] = byte(v.r.Uint32())
		}
		for _, fd := range v.sockets {
			unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}
		return nil
	},
	"opens sockets without end": func(v *victim) error {
		l, err := usertcp.Listen("tcp", ":0")
		if err == nil {
			v.listeners = append(v.listeners, l)
		}
		return nil
	},
	"never reads": func(v *victim) error {
		time.Sleep(time.Millisecond)
		return nil
	},
	"unmaps its segment and goes on":                unmap,
	"floods its child with requests, reads nothing": floodChild,
	"floods its server with requests":               floodServer,
	"opens and closes as fast as it can": func(v *victim) error {
		l, err := usertcp.Listen("tcp", ":0")
		if err != nil {
			return nil // its limit, or its server is slow: again
		}
		if c, err := usertcp.Dial("tcp", v.address); err == nil {
			c.Close()
		}
		return l.Close()
	},
	"opens connections without end": func(v *victim) error {
		if c, err := usertcp.Dial("tcp", v.address); err == nil {
			v.conns = append(v.conns, c)
		}
		return nil
	},
}

// victim is what a hostile program has of its own: it was given all of it.
type victim struct {
	r         *rand.Rand
	fd        int
	segment   []byte
	sockets   []int
	listeners []net.Listener
	conns     []net.Conn
	address   string
}

func (v *victim) scribble(from, n int) {
	for range 64 {
		v.segment[from+v.r.IntN(n)] = byte(v.r.Uint32())
	}
}

// breath is what a hostile program draws between two deeds.
const breath = 50 * time.Microsecond

func hostile(address string, way func(*victim) error) error {
	c, err := usertcp.Dial("tcp", address)
	if err != nil {
		return err
	}
	if _, err := c.Write(make([]byte, 200_000)); err != nil {
		return err
	}
	v, err := findVictim()
	if err != nil {
		return err
	}
	v.address = address
	fmt.Println("begun")
	// It will crash itself, too: nobody wants to read that.
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		unix.Dup3(int(null.Fd()), 2, 0)
	}
	for {
		if err := way(v); err != nil {
			return err
		}
		time.Sleep(breath) // to use up a CPU is no hostility of ours
	}
}

// findVictim finds the segment and the channels among the program's descriptors.
func findVictim() (*victim, error) {
	v := &victim{r: rand.New(rand.NewPCG(uint64(os.Getpid()), 1)), fd: -1}
	all, err := filepath.Glob("/proc/self/fd/*")
	for _, name := range all {
		fd, _ := strconv.Atoi(filepath.Base(name))
		to, _ := os.Readlink(name)
		switch {
		case strings.HasPrefix(to, "/memfd:usertcp-segment"):
			v.fd = fd
		case strings.HasPrefix(to, "socket:"):
			v.sockets = append(v.sockets, fd)
		}
	}
	if err != nil || v.fd < 0 {
		return nil, fmt.Errorf("no segment among %d descriptors: %w", len(all), err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(v.fd, &st); err != nil {
		return nil, err
	}
	v.segment, err = unix.Mmap(v.fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return v, err
}
