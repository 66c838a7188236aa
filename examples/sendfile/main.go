// Command sendfile sends a file from one host to another:
//
//	sendfile -listen 10.1.0.2:9000 >copy
//	sendfile 10.1.0.2:9000 <file
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"usertcp"
)

func main() {
	log.SetFlags(0)
	listen := flag.Bool("listen", false, "receive")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: sendfile [-listen] ADDR")
	}
	do := send
	if *listen {
		do = receive
	}
	if err := do(flag.Arg(0)); err != nil {
		log.Fatal(err)
	}
}

// send may end as soon as Close has: what Write accepted arrives without us.
func send(addr string) error {
	conn, err := usertcp.Dial("tcp", addr)
	if err != nil {
		return err
	}
	if _, err := io.Copy(conn, os.Stdin); err != nil {
		return err
	}
	return conn.Close()
}

func receive(addr string) error {
	l, err := usertcp.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "listening on", l.Addr())
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}
