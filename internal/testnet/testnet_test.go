package testnet

import (
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

var dialer = net.Dialer{Timeout: time.Minute}

// talk sends a line from one namespace's kernel to the other's and back.
func talk(t *testing.T, from, to *Namespace, addr string) {
	t.Helper()
	l := to.Listen("tcp", net.JoinHostPort(addr, "0"))
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := from.Dial(&dialer, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, "hello")
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestPairsTalk(t *testing.T) {
	a, b := New(t), New(t)
	Pair(a, b, 1500)
	talk(t, a, b, PairB4)
	talk(t, b, a, PairA6)
	talk(t, a, a, "127.0.0.1")
}

func TestRouterForwards(t *testing.T) {
	a, r, b := New(t), New(t), New(t)
	Join(Wire{A: End{a, "a0", []string{"10.1.0.2/24"}}, B: End{r, "r0", []string{"10.1.0.1/24"}}})
	Join(Wire{A: End{b, "b0", []string{"10.2.0.2/24"}}, B: End{r, "r1", []string{"10.2.0.1/24"}}, MTU: 1400})
	r.Forward()
	a.SetRoute(Route{To: "10.2.0.0/24", Via: "10.1.0.1"})
	b.SetRoute(Route{To: "10.1.0.0/24", Via: "10.2.0.1"})
	talk(t, a, b, "10.2.0.2")
	b.RemoveRoute("10.1.0.0/24")
	if _, err := b.Dial(&dialer, "tcp", "10.1.0.2:1"); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Errorf("without a route: %v", err)
	}
}

// What a test does in a namespace leaves the machine's network alone.
func TestNothingLeaks(t *testing.T) {
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	a, b := New(t), New(t)
	Pair(a, b, 0)
	if now, _ := netns.Get(); !now.Equal(before) {
		t.Error("the goroutine is in another namespace now")
	}
	if got := a.Devices(); !slices.Equal(got, []string{"lo", "va"}) {
		t.Errorf("devices %v", got)
	}
	if _, err := net.InterfaceByName("va"); err == nil {
		t.Error("va is a device of the machine")
	}
	a.Remove("va")
	if got := b.Devices(); !slices.Equal(got, []string{"lo"}) {
		t.Errorf("devices %v after the other end has gone", got)
	}
}

func TestProcessesRunInside(t *testing.T) {
	a, b := New(t), New(t)
	Pair(a, b, 0)
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat", "/proc/net/dev")
	cmd.Stdout = out
	if err := a.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(out.Name()); !strings.Contains(string(text), "va:") {
		t.Errorf("the process sees\n%s", text)
	}
}

func TestOffloadsAndSettings(t *testing.T) {
	a, b := New(t), New(t)
	Pair(a, b, 9000)
	a.SetOffloads("va", false)
	b.SetOffloads("vb", false)
	talk(t, a, b, PairB4)
	a.SetOffloads("va", true)
	a.MTU("va", 1280)
	talk(t, b, a, PairA6)
	a.Sysctl("ipv4/ip_forward", "1")
	if v := a.ReadSysctl("ipv4/ip_forward"); v != "1\n" {
		t.Errorf("ip_forward is %q", v)
	}
	if v := b.ReadSysctl("ipv4/ip_forward"); v != "0\n" {
		t.Errorf("ip_forward of the other is %q", v)
	}
	a.AddAddr("va", "10.9.0.7/24")
	talk(t, b, a, "10.9.0.7")
	a.RemoveAddr("va", "10.9.0.7/24")
	a.Down("va")
	a.Up("va")
}
