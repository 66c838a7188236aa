package nic_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"usertcp"
	"usertcp/internal/testhost"
	"usertcp/internal/testnet"
)

func init() {
	testhost.Programs["web-server"] = webServer
	testhost.Programs["web-client"] = webClient
}

// web answers a GET of /N with N octets, and a POST with the hash of what is posted.
var web = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		h := sha256.New()
		io.Copy(h, r.Body)
		fmt.Fprintf(w, "%x", h.Sum(nil))
		return
	}
	n, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || n < 0 || n > 64<<20 {
		http.NotFound(w, r)
		return
	}
	w.Write(octets(9, n))
})

// webServer is a program that serves HTTP over user-space TCP at an address.
func webServer(args []string) int {
	l, err := usertcp.Listen("tcp", args[0])
	if err == nil {
		fmt.Println("ready")
		err = http.Serve(l, web)
	}
	fmt.Fprintln(os.Stderr, "web server:", err)
	return 1
}

// webClient is a program that asks the server at a URL over user-space TCP.
func webClient(args []string) int {
	var d usertcp.Dialer
	if err := browse(args[0], func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("all right")
	return 0
}

// browse asks a server for small and large things, one after the other and at once.
func browse(url string, dial func(ctx context.Context, network, address string) (net.Conn, error)) error {
	client := &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8}, Timeout: patience}
	defer client.CloseIdleConnections()
	errs := make(chan error, 8)
	for w := range cap(errs) {
		go func() {
			for i := range 10 {
				if err := visit(client, url, w*100+i*100000); err != nil {
					errs <- fmt.Errorf("browser %d, visit %d: %w", w, i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// visit gets n octets and posts them back.
func visit(client *http.Client, url string, n int) error {
	r, err := client.Get(fmt.Sprintf("%s/%d", url, n))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil || !bytes.Equal(got, octets(9, n)) {
		return fmt.Errorf("%d octets, want %d: %w", len(got), n, err)
	}
	p, err := client.Post(url, "application/octet-stream", bytes.NewReader(got))
	if err != nil {
		return err
	}
	defer p.Body.Close()
	hash, err := io.ReadAll(p.Body)
	if want := fmt.Sprintf("%x", sha256.Sum256(got)); err != nil || string(hash) != want {
		return fmt.Errorf("the server has got %s, not %s: %w", hash, want, err)
	}
	return nil
}

// HTTP of package net/http, and curl, to a server in user space; and of a client in
// user space to a server of the kernel's.
func TestHTTP(t *testing.T) {
	a, b := pair(t, 1500)
	b.program("web-server", ":80").Want("ready")
	url := "http://" + testnet.PairB4
	t.Run("net/http to user", func(t *testing.T) {
		check(t, browse(url, func(_ context.Context, network, address string) (net.Conn, error) {
			return a.Dial(&net.Dialer{Timeout: patience}, network, address)
		}))
	})
	t.Run("curl to user", func(t *testing.T) {
		for _, url := range []string{url, "http://[" + testnet.PairB6 + "]"} {
			a.curl(t, url)
		}
	})
	t.Run("user to net/http", func(t *testing.T) {
		l := b.Listen("tcp", net.JoinHostPort(testnet.PairB6, "0"))
		go http.Serve(l, web)
		a.program("web-client", "http://"+l.Addr().String()).Want("all right")
	})
	t.Run("user to user", func(t *testing.T) { a.program("web-client", url).Want("all right") })
}

// program starts a program of the host's.
func (h *host) program(name string, args ...string) *testhost.Process {
	h.t.Helper()
	var p *testhost.Process
	h.Do(func() { p = testhost.Run(h.t, h.args[0], name, args...) })
	return p
}

// curl gets several things over one connection, and posts one.
func (h *host) curl(t *testing.T, url string) {
	t.Helper()
	curl := installed(t, "curl")
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		var out bytes.Buffer
		cmd := exec.Command(curl, append([]string{"-sSg", "--max-time", "20"}, args...)...)
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		check(t, h.Start(cmd))
		check(t, cmd.Wait())
		return out.Bytes()
	}
	file := filepath.Join(dir, "octets")
	for _, n := range []int{0, 1, 5 << 20} {
		run("-o", file, url+"/"+strconv.Itoa(n))
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, octets(9, n)) {
			t.Errorf("curl has got %d octets, want %d: %v", len(got), n, err)
		}
	}
	want := fmt.Sprintf("%x", sha256.Sum256(octets(9, 5<<20)))
	if got := run("--data-binary", "@"+file, url); string(got) != want {
		t.Errorf("what curl has posted has the hash %s, want %s", got, want)
	}
	if got := run(url+"/1", url+"/10", url+"/100"); len(got) != 111 {
		t.Errorf("three at once: %d octets", len(got))
	}
}

// installed returns the path of a program of the machine's; without it the test is
// skipped.
func installed(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}
