package nic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
	"usertcp/internal/wire"
)

func TestKernelVersions(t *testing.T) {
	for release, ok := range map[string]bool{
		"6.6.0": true, "6.6": true, "6.18.44-generic": true, "7.0.0-rc1": true, "10.1.2": true,
		"6.5.13": false, "5.15.0-91-generic": false, "4.19": false, "": false, "strange": false,
	} {
		err := checkKernel(release)
		if (err == nil) != ok {
			t.Errorf("%q: %v", release, err)
		}
		if err != nil && !strings.Contains(err.Error(), "6.6") {
			t.Errorf("%q: %v does not say what is needed", release, err)
		}
	}
}

func TestMissingCapabilitiesAreNamed(t *testing.T) {
	status := func(bits uint64) string {
		return fmt.Sprintf("Name:\tx\nCapPrm:\t%016x\nCapEff:\t%016x\nCapBnd:\t0\n", bits, bits)
	}
	if err := checkCapabilities(status(^uint64(0))); err != nil {
		t.Errorf("all: %v", err)
	}
	some := uint64(1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_PERFMON)
	err := checkCapabilities(status(some))
	if err == nil || !errors.Is(err, unix.EPERM) {
		t.Fatalf("without CAP_BPF: %v", err)
	}
	for name, want := range map[string]bool{"CAP_BPF": true, "CAP_SYS_ADMIN": true, "CAP_NET_ADMIN": false, "CAP_PERFMON": false} {
		if strings.Contains(err.Error(), name) != want {
			t.Errorf("%v: %s", err, name)
		}
	}
	if checkCapabilities("nothing") == nil {
		t.Error("a status without capabilities passes")
	}
}

// matches does what the programs do with a rule.
func matches(k kernelRule, remote netip.Addr, port uint16) bool {
	a := keyAddress(wire.AddrFrom(remote))
	for i := range a.Word {
		if a.Word[i]&k.Mask.Word[i] != k.Prefix.Word[i] {
			return false
		}
	}
	return k.First <= port && port <= k.Last
}

// The programs read a rule as the server does.
func TestKeysOfRules(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	address := func(near netip.Addr) netip.Addr {
		b := near.AsSlice()
		bit := r.IntN(len(b) * 8)
		b[bit/8] ^= 0x80 >> (bit % 8)
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	for range 2000 {
		base := netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		if r.IntN(2) == 0 {
			base = netip.AddrFrom16([16]byte{0x20, 1, byte(r.Uint32()), 3: byte(r.Uint32()), 15: byte(r.Uint32())})
		}
		rule := Rule{netip.PrefixFrom(base, r.IntN(base.BitLen()+1)), 0, 0}
		if r.IntN(2) == 0 {
			rule.First = uint16(r.IntN(100))
			rule.Last = max(1, rule.First+uint16(r.IntN(100)))
		}
		for _, remote := range []netip.Addr{base, address(base), address(address(base))} {
			port := uint16(r.IntN(200))
			if got, want := matches(keyRule(rule), remote, port), rule.about(remote, port); got != want {
				t.Fatalf("seed %d: %v, %v port %d: the programs say %v", seed, rule, remote, port, got)
			}
		}
	}
}

func TestKeysAreReversible(t *testing.T) {
	for _, s := range []string{"10.9.0.1", "fd09::1", "::", "0.0.0.0"} {
		a := wire.AddrFrom(netip.MustParseAddr(s))
		if got := keyAddress(a).addr(); got != a {
			t.Errorf("%s: %v", s, got)
		}
	}
	if keyPort(keyPort(0x1234)) != 0x1234 {
		t.Error("ports")
	}
}

// Whatever thread asks, the answer is of the namespace that the place was made in.
func TestPlaceStaysInItsNamespace(t *testing.T) {
	a, b := testnet.New(t), testnet.New(t)
	testnet.Pair(a, b, 0)
	var p *place
	a.Do(func() {
		var err error
		p, err = here()
		must(t, err)
	})
	var there, elsewhere string
	must(t, p.do(func() error {
		c, err := os.ReadFile("/proc/thread-self/net/dev")
		there = string(c)
		return err
	}))
	c, err := os.ReadFile("/proc/thread-self/net/dev")
	must(t, err)
	elsewhere = string(c)
	if !strings.Contains(there, "va:") || strings.Contains(elsewhere, "va:") {
		t.Errorf("in the place:\n%s\nhere:\n%s", there, elsewhere)
	}
	p.close()
	if err := p.do(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
