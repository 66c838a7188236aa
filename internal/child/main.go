package child

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"usertcp/internal/message"
	"usertcp/internal/pool"
	"usertcp/internal/shm"
	"usertcp/internal/wire"
)

// Descriptors that a child inherits.
const (
	controlFd = 3 + iota // to the server: messages
	framesFd             // to the server: frames
	userFd               // to the application: messages
	meetingFd            // where the next server finds the child: a socket, bound
)

// Main is the child process: it returns its exit status when all connections
// have ended after the application has, or the server has told it to stop.
func Main(args []string) int {
	cfg, err := parse(args)
	if err == nil {
		collectOften()
		harden()
		err = run(cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "usertcp child:", err)
		return 1
	}
	return 0
}

// collectOften keeps the heap small: a child is small, and there are many. A limit of memory
// would do harm: a child with records of many connections would be over it, and collect
// garbage without end.
func collectOften() { debug.SetGCPercent(20) }

// leastMTU is what every host takes (RFC 8200 section 5), octets.
const leastMTU = 1280

type config struct {
	vci       wire.VCI
	addrs     []netip.Addr
	crc       bool
	successor bool
	lock      shm.LockKind
	cpu       int  // where both halves run, for the lock that needs it
	mtu       int  // longest packet on the ring, octets
	takes     bool // this child takes all packets
	cache     bool // buffers come from caches
	copies    bool // payloads are copied once more on each side
	unplaced  bool // … are not placed in the memory of who waits for them
	tap       int  // descriptor of the pool's device, 0 if it has none
	program   int  // descriptor of the program that this process runs, 0 if there is none
}

func parse(args []string) (config, error) {
	var cfg config
	f := flag.NewFlagSet("child", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	vci := f.Uint("vci", 0, "the pool's VCI")
	f.BoolVar(&cfg.crc, "crc", false, "AAL-5 CRC-32 on every PDU")
	f.IntVar(&cfg.tap, "tap", 0, "descriptor of the pool's device")
	f.IntVar(&cfg.program, "program", 0, "descriptor of this program")
	f.BoolVar(&cfg.successor, "successor", false, "take over what a child that has ended has left")
	f.BoolVar(&cfg.takes, "takes", false, "take all packets, instead of the application")
	f.BoolVar(&cfg.cache, "buffer-cache", false, "buffers come from caches")
	f.BoolVar(&cfg.copies, "copies", false, "payloads are copied once more on each side")
	f.BoolVar(&cfg.unplaced, "unplaced", false, "payloads are not placed in the memory of who waits for them")
	f.IntVar(&cfg.mtu, "pdu", pool.MaxPDU, "longest packet on the ring")
	f.IntVar(&cfg.cpu, "cpu", 0, "where both halves run")
	f.Func("lock", "the segment's lock", func(s string) (err error) {
		cfg.lock, err = shm.ParseLockKind(s)
		return err
	})
	f.Func("addr", "an address of the host", func(s string) error {
		a, err := netip.ParseAddr(s)
		cfg.addrs = append(cfg.addrs, a)
		return err
	})
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	if cfg.mtu < leastMTU || cfg.mtu > pool.MaxPDU {
		return cfg, fmt.Errorf("PDUs of %d octets", cfg.mtu)
	}
	cfg.vci = wire.VCI(*vci)
	if *vci >= 1<<15 || cfg.vci.IsWellKnown() || cfg.vci.IsMulticast() || len(cfg.addrs) == 0 && cfg.tap == 0 && !cfg.successor {
		return cfg, errors.New("a child is started by the connection server, with a VCI and addresses")
	}
	return cfg, nil
}

// run is the child with the channels that it inherits.
func run(cfg config) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	// Ctrl-C and the like are meant for the application; whoever read what we say
	// may have gone.
	signal.Ignore(unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	user, err := dupFile(userFd) // for whoever takes over
	if err != nil {
		return fmt.Errorf("descriptor %d: %w", userFd, err)
	}
	unix.CloseOnExec(meetingFd)
	if cfg.program != 0 {
		unix.CloseOnExec(cfg.program)
	}
	var ch [3]*message.Channel
	for i, fd := range [3]int{controlFd, framesFd, userFd} {
		var err error
		if ch[i], err = message.FileChannel(fd); err != nil {
			return err
		}
	}
	c, err := newChild(cfg, ch[0], ch[1], ch[2], user)
	if err == nil {
		err = c.begin()
	}
	if err != nil {
		r := message.Message{Type: message.InitReply, Errno: uint32(unix.ENOMEM), N: message.Version}
		return errors.Join(err, ch[2].SendMessage(&r))
	}
	go func() {
		<-stop
		os.Exit(0) // the server stops: nobody else can use what we hold
	}()
	return c.serve()
}
