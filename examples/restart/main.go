// Command restart is a web server whose next version takes its place without a failed
// request or a closed connection: the old one hands its sockets over at SIGTERM.
//
//	restart -listen 10.1.0.2:80    # the first
//	restart                        # the next, started before or after the SIGTERM
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"usertcp"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "", "`ADDR` to serve at")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	s := &server{idle: map[*usertcp.Conn]bool{}}
	if err := s.begin(*listen); err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", s.listener.Addr())
	s.serving.Go(s.accept)
	<-ctx.Done()
	if err := usertcp.HandOver(context.Background(), "examples/restart", time.Minute, s.stop()...); err != nil {
		log.Fatal(err)
	}
}

// begin listens, or goes on where the process before has stopped.
func (s *server) begin(listen string) error {
	if listen != "" {
		l, err := usertcp.Listen("tcp", listen)
		if err == nil {
			s.listener = l.(*usertcp.Listener)
		}
		return err
	}
	sockets, err := usertcp.TakeOver(context.Background(), "examples/restart")
	for _, h := range sockets {
		if h.Listener != nil {
			s.listener = h.Listener
		} else {
			s.serve(h.Conn, h.State)
		}
	}
	return err
}
