// Command hello says hello to the echo server at 10.1.0.2:7.
package main

import (
	"io"
	"log"
	"os"

	"usertcp"
)

func main() {
	conn, err := usertcp.Dial("tcp", "10.1.0.2:7")
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(conn, "hello, world\n")
	conn.(*usertcp.Conn).CloseWrite()
	io.Copy(os.Stdout, conn)
}
