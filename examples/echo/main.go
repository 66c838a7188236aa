// Command echo sends back what it receives: echo 10.1.0.2:7
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"usertcp"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: echo ADDR")
	}
	l, err := usertcp.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(conn)
	}
}

// echo ends when the peer has closed its side, after which Close closes ours.
func echo(conn net.Conn) {
	defer conn.Close()
	if _, err := io.Copy(conn, conn); err != nil {
		log.Print(err)
	}
}
