package nic_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"usertcp/internal/testnet"
)

// nmap sees the same of a listener in user space as of one of the kernel's, whatever it
// probes with, and the listener goes on.
func TestProbesOfNmap(t *testing.T) {
	nmap := installed(t, "nmap")
	a, b := pair(t, 1500)
	n := meetAt(t, a, b, testnet.PairB4)
	b.Listen("tcp", testnet.PairB4+":81")
	for _, probe := range []struct{ name, flag, state string }{
		{"SYN", "-sS", "open"},
		{"connect", "-sT", "open"},
		{"ACK", "-sA", "unfiltered"},
		{"window", "-sW", "closed"},
		{"Maimon", "-sM", "closed"},
		{"FIN", "-sF", `open\|filtered`},
		{"no flags", "-sN", `open\|filtered`},
		{"Christmas tree", "-sX", `open\|filtered`},
		{"SYN and RST", "-sS --scanflags SYNRST", "filtered"},
	} {
		t.Run(probe.name, func(t *testing.T) {
			out := a.scan(t, nmap, probe.flag)
			for port, who := range map[string]string{"80": "user space", "81": "the kernel"} {
				if !regexp.MustCompile(port + `/tcp +` + probe.state + ` `).MatchString(out) {
					t.Errorf("%s: not %s:\n%s", who, probe.state, out)
				}
			}
		})
	}
	c, err := n.l.Accept() // by the probe that connects
	check(t, err)
	c.Close()
	n.eachMeeting(t, func(t *testing.T, c, s stream) { exchange(t, c, s, 100000) })
}

// scan probes ports 80 and 81 of the other host.
func (h *host) scan(t *testing.T, nmap, flags string) string {
	t.Helper()
	args := append([]string{"-n", "-Pn", "-T5", "--max-retries", "1", "-p", "80,81"}, strings.Fields(flags)...)
	var out bytes.Buffer
	cmd := exec.Command(nmap, append(args, testnet.PairB4)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, h.Start(cmd))
	check(t, cmd.Wait())
	return out.String()
}
