package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"usertcp"
)

// server serves HTTP/1.1 until it is stopped. net/http reads ahead and keeps what it
// has read to itself, so that connections can't be taken from it in mid-life.
type server struct {
	listener *usertcp.Listener
	serving  sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	idle    map[*usertcp.Conn]bool // those that wait for a request
	left    []usertcp.Handed
}

func (s *server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serve(c.(*usertcp.Conn), nil)
	}
}

// serve answers the requests on c, of which the process before has read a part.
func (s *server) serve(c *usertcp.Conn, unread []byte) {
	s.serving.Go(func() {
		r := bufio.NewReader(io.MultiReader(bytes.NewReader(unread), c))
		r.Peek(len(unread))
		for s.await(c, r) {
			req, err := http.ReadRequest(r)
			if err != nil {
				c.Close()
				return
			}
			n, _ := io.Copy(io.Discard, req.Body)
			body := fmt.Sprintf("process %d got %d octets\n", os.Getpid(), n)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
}
