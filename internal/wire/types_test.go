package wire

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestAddr(t *testing.T) {
	tests := []struct {
		in, out   string
		is4, zero bool
	}{
		{"10.1.0.1", "10.1.0.1", true, false},
		{"0.0.0.0", "0.0.0.0", true, true},
		{"::", "::", false, true},
		{"fd01::1", "fd01::1", false, false},
		{"::ffff:10.1.0.1", "10.1.0.1", true, false},
		{"fe80::1%eth0", "fe80::1", false, false},
		{"::fffe:10.1.0.1", "::fffe:a01:1", false, false},
		{"0:0:0:0:1:ffff:a01:1", "::1:ffff:a01:1", false, false},
	}
	for _, test := range tests {
		a := AddrFrom(netip.MustParseAddr(test.in))
		if a.String() != test.out || a.Is4() != test.is4 || a.IsZero() != test.zero {
			t.Errorf("%s is %v, Is4 %v, IsZero %v", test.in, a, a.Is4(), a.IsZero())
		}
	}
	if a := AddrFrom(netip.Addr{}); a != (Addr{}) {
		t.Errorf("no address became %v", a)
	}
}

func TestEndpointAndFlow(t *testing.T) {
	a := netip.MustParseAddrPort("10.1.0.1:80")
	b := netip.MustParseAddrPort("[fd01::1]:4242")
	f := Flow{Local: EndpointFrom(a), Remote: EndpointFrom(b)}
	if f.Local.Netip() != a || f.Remote.Netip() != b {
		t.Errorf("%v and %v came back as %v and %v", a, b, f.Local.Netip(), f.Remote.Netip())
	}
	if got, want := f.String(), "10.1.0.1:80->[fd01::1]:4242"; got != want {
		t.Errorf("prints %q, want %q", got, want)
	}
}

func TestCovers(t *testing.T) {
	addr := func(s string) Addr { return AddrFrom(netip.MustParseAddr(s)) }
	four, six := addr("10.1.0.1"), addr("fd00::1")
	for _, x := range []struct {
		w      Addr
		v4, v6 bool
	}{{Any, true, true}, {Any4, true, false}, {Any6, false, true}, {four, true, false}, {six, false, true}, {addr("10.1.0.2"), false, false}} {
		if x.w.Covers(&four) != x.v4 || x.w.Covers(&six) != x.v6 {
			t.Errorf("%v covers %v: %v, %v: %v", x.w, four, x.w.Covers(&four), six, x.w.Covers(&six))
		}
	}
	for _, a := range []Addr{Any, Any4, Any6} {
		if !a.IsZero() || !a.Netip().IsUnspecified() {
			t.Errorf("%v is not unspecified", a)
		}
	}
}

func TestAddrComesBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := drawAddr(r, rapid.Bool().Draw(r, "v4"), "addr")
		if b := AddrFrom(a.Netip()); b != a {
			r.Fatalf("%v came back as %v", a, b)
		}
	})
}

func TestFlagsString(t *testing.T) {
	tests := map[Flags]string{
		0: "", FIN: "FIN", SYN | ACK: "SYN|ACK", AE | CWR | ECE: "ECE|CWR|AE", 0x0e00 | URG | PSH | RST: "RST|PSH|URG|0xe00",
	}
	for f, want := range tests {
		if got := f.String(); got != want {
			t.Errorf("flags %x print %q, want %q", uint16(f), got, want)
		}
	}
	if f := SYN | ACK; !f.Has(SYN) || f.Has(SYN|FIN) || !f.Has(0) {
		t.Errorf("Has is wrong about %v", f)
	}
}
