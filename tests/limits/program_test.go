package limits

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"usertcp"
	"usertcp/internal/testhost"
)

// A hog gets ADDRESS USER: it does, as that user, what the lines of the test say, and
// says how far it has come.
//
//	open N     opens up to N connections:                      opened N ERROR
//	fill N     writes up to N octets to each, while it can:    wrote N
//	breathe N  takes N milliseconds between pieces of that:    breathes N
//	close      closes all connections:                         closed
func init() {
	testhost.Programs["hog"] = func(args []string) int {
		if uid, _ := strconv.Atoi(args[1]); uid != 0 {
			if err := errors.Join(syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		h := hog{address: args[0], breath: 50 * time.Millisecond}
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			what, number, _ := strings.Cut(in.Text(), " ")
			n, _ := strconv.Atoi(number)
			fmt.Println(h.obey(what, n))
		}
		return 0
	}
}

type hog struct {
	address string
	conns   []net.Conn
	breath  time.Duration
}

func (h *hog) obey(what string, n int) string {
	switch what {
	case "open":
		return h.open(n)
	case "fill":
		return h.fill(n)
	case "breathe":
		h.breath = time.Duration(n) * time.Millisecond
		return fmt.Sprintf("breathes %d", n)
	}
	for _, c := range h.conns {
		c.Close()
	}
	return "closed"
}

func (h *hog) open(n int) string {
	for i := range n {
		c, err := usertcp.Dial("tcp", h.address)
		if err != nil {
			return fmt.Sprintf("opened %d EMFILE=%v %v", i, errors.Is(err, syscall.EMFILE), err)
		}
		h.conns = append(h.conns, c)
	}
	return fmt.Sprintf("opened %d", n)
}

// fill writes n octets to each connection, less of it if one takes too long. It goes in
// pieces with a breath between them, in which the server learns what is in use, and the
// others are told, on a slow machine too.
func (h *hog) fill(n int) string {
	const piece = 250_000
	sum := 0
	for _, c := range h.conns {
		for left := n; left > 0; {
			c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			wrote, err := c.Write(make([]byte, min(piece, left)))
			sum, left = sum+wrote, left-wrote
			if err != nil {
				break
			}
			time.Sleep(h.breath)
		}
	}
	return fmt.Sprintf("wrote %d", sum)
}
