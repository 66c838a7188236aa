// Command http serves and gets over user-space TCP with net/http as it is:
//
//	http -listen 10.1.0.2:80
//	http http://10.1.0.2/
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"usertcp"
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "", "`ADDR` to serve at")
	flag.Parse()
	var err error
	switch {
	case *listen != "":
		err = serve(*listen)
	case flag.NArg() == 1:
		err = get(flag.Arg(0))
	default:
		err = fmt.Errorf("usage: http -listen ADDR | http URL")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func serve(addr string) error {
	l, err := usertcp.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s\n", r.RemoteAddr)
	}))
}

func get(url string) error {
	var d usertcp.Dialer
	client := http.Client{Transport: &http.Transport{DialContext: d.DialContext}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
