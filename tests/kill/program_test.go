package kill

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"usertcp"
	"usertcp/internal/testhost"
)

// The programs that are killed. Both get ADDRESS PAGE NUMBER SIZE, connect, and say
// their number.
func init() {
	testhost.Programs["send"] = func(args []string) int { return run(args, send) }
	testhost.Programs["receive"] = func(args []string) int { return run(args, receive) }
}

func run(args []string, do func(c net.Conn, page []byte, size int) error) int {
	number, e1 := strconv.ParseUint(args[2], 10, 64)
	size, e2 := strconv.Atoi(args[3])
	f, e3 := os.OpenFile(args[1], os.O_RDWR, 0)
	err := errors.Join(e1, e2, e3)
	var page []byte
	if err == nil {
		page, err = unix.Mmap(int(f.Fd()), 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	var c net.Conn
	if err == nil {
		c, err = usertcp.Dial("tcp", args[0])
	}
	if err == nil {
		_, err = c.Write(binary.BigEndian.AppendUint64(nil, number))
	}
	if err == nil {
		err = do(c, page, size)
	}
	fmt.Fprintln(os.Stderr, "program:", err)
	return 1
}

// send writes for ever, and leaves in the page how many octets were accepted.
func send(c net.Conn, page []byte, size int) error {
	all := []byte(octets())
	for at := 0; ; {
		n, err := c.Write(all[at%period:][:size])
		at += n
		binary.LittleEndian.PutUint64(page, uint64(at))
		if err != nil {
			return err
		}
	}
}

// receive reads for ever.
func receive(c net.Conn, _ []byte, size int) error {
	buf := make([]byte, size)
	for at := 0; ; {
		n, err := io.ReadFull(c, buf)
		if string(buf[:n]) != pattern(at, n) {
			return errors.New("the stream is not what was sent")
		}
		if at += n; err != nil {
			return err
		}
	}
}
