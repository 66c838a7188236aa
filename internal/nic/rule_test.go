package nic

import (
	"net/netip"
	"testing"
)

func rules(t *testing.T, texts ...string) []Rule {
	t.Helper()
	var all []Rule
	for _, s := range texts {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r...)
	}
	return all
}

func TestRulesAreRead(t *testing.T) {
	for _, row := range []struct {
		text, prefix string
		first, last  uint16
	}{
		{"10.0.0.0/8", "10.0.0.0/8", 0, 0},
		{"192.0.2.1", "192.0.2.1/32", 0, 0},
		{"192.0.2.1:22", "192.0.2.1/32", 22, 22},
		{"10.0.0.0/8:8000-8999", "10.0.0.0/8", 8000, 8999},
		{"2001:db8::/32", "2001:db8::/32", 0, 0},
		{"2001:db8::1", "2001:db8::1/128", 0, 0},
		{"[2001:db8::]/32:443", "2001:db8::/32", 443, 443},
		{"[2001:db8::1]:443", "2001:db8::1/128", 443, 443},
		{"::ffff:192.0.2.1", "192.0.2.1/32", 0, 0},
	} {
		got := rules(t, row.text)
		want := Rule{netip.MustParsePrefix(row.prefix), row.first, row.last}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v, want %v", row.text, got, want)
		}
	}
	if got := rules(t, "*:80"); len(got) != 2 || got[0].Last != 80 || got[1].First != 80 {
		t.Errorf("*:80: got %v, want a rule for each family", got)
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "x", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8:0", "10.0.0.0/8:65536", "10.0.0.0/8:9-8",
		"10.0.0.0/8:a", "10.0.0.0/8:1-b", "[2001:db8::1", "fe80::1%eth0", "::ffff:10.0.0.0/104",
	} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, r)
		}
	}
	for _, r := range []Rule{{}, {netip.MustParsePrefix("10.0.0.0/8"), 9, 8}, {netip.MustParsePrefix("::ffff:1.2.3.4/128"), 0, 0}} {
		if r.check() == nil {
			t.Errorf("%v: passes the check", r)
		}
	}
}

func TestDenyComesBeforeAllow(t *testing.T) {
	deny, allow := rules(t, "10.1.0.0/16", "*:25"), rules(t, "10.0.0.0/8", "[2001:db8::]/32:443")
	for _, row := range []struct {
		remote string
		port   uint16
		want   bool
	}{
		{"10.2.0.1", 80, true},
		{"::ffff:10.2.0.1", 80, true},
		{"10.1.0.1", 80, false},
		{"10.2.0.1", 25, false},
		{"11.0.0.1", 80, false},
		{"2001:db8::1", 443, true},
		{"2001:db8::1", 80, false},
	} {
		if got := permitted(deny, allow, netip.MustParseAddr(row.remote), row.port); got != row.want {
			t.Errorf("%s port %d: permitted is %v", row.remote, row.port, got)
		}
	}
	if !permitted(nil, nil, netip.MustParseAddr("192.0.2.1"), 1) {
		t.Error("without rules something is refused")
	}
	if permitted(deny, nil, netip.MustParseAddr("10.1.2.3"), 1) || !permitted(deny, nil, netip.MustParseAddr("1.1.1.1"), 1) {
		t.Error("Deny alone does not refuse what it names, and that only")
	}
}

// Whatever stands in a configuration is read or refused, and what is read passes the
// check of Open.
func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "192.0.2.1:22", "[2001:db8::]/32:8000-8999", "*:80", "*", "[::1", "::/0", ":", "1.1.1.1:1-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all, err := ParseRule(s)
		if (err == nil) != (len(all) > 0) {
			t.Fatalf("%q: %v, %v", s, all, err)
		}
		for _, r := range all {
			if err := r.check(); err != nil {
				t.Errorf("%q: %v", s, err)
			}
			if !r.about(r.Prefix.Addr(), r.First) {
				t.Errorf("%q: the rule is not about %v", s, r.Prefix.Addr())
			}
			if !matches(keyRule(r), r.Prefix.Addr(), r.Last) {
				t.Errorf("%q: the programs' rule is not about %v", s, r.Prefix.Addr())
			}
		}
	})
}
