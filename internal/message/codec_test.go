package message

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"usertcp/internal/wire"
)

var parties = []Party{User, Child, Server}

// one returns one party out of a set.
func one(set Party) Party {
	for _, p := range parties {
		if set&p != 0 {
			return p
		}
	}
	panic("BUG: empty set of parties")
}

// sample returns a message of a type with all that its row of the table allows.
func sample(t Type) Message {
	m := Message{
		Type: t, VCI: wire.NewVCI(3, 17), ID: 0x01020304, Errno: 111, Socket: 7, N: 1 << 31,
		Local:  wire.EndpointFrom(netip.MustParseAddrPort("10.1.0.1:80")),
		Remote: wire.EndpointFrom(netip.MustParseAddrPort("[2001:db8::2]:65535")),
	}
	for op := OpNone; op <= OpLease; op++ {
		if t.takes(op) {
			m.Op = op
		}
	}
	if table[t].pdu {
		m.PDU = []byte("an IP packet")
	}
	if t == GeneralReply || t == Keep {
		m.Ports = 1<<63 | 5
	}
	for i := range table[t].files {
		m.Files = append(m.Files, 100+i)
	}
	return m
}

func TestEachMessageOfThePaperHasARow(t *testing.T) {
	if numPaper != 16 {
		t.Errorf("%d types, the paper has 16", numPaper)
	}
	seen := map[string]bool{}
	for typ := Listen; typ <= numTypes; typ++ {
		f := table[typ]
		if f.name == "" || f.from == 0 || f.to == 0 || f.about == "" || f.files > MaxFiles {
			t.Errorf("row of type %d is incomplete: %+v", typ, f)
		}
		if seen[f.name] {
			t.Errorf("%s appears twice", f.name)
		}
		seen[f.name] = true
	}
	if got := Type(0).String() + Type(numTypes+1).String(); got != "unknownunknown" {
		t.Errorf("types outside the table are called %q", got)
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for typ := Listen; typ <= numTypes; typ++ {
		want := sample(typ)
		var got Message
		err := Decode(want.Append(nil), want.Files, one(table[typ].from), one(table[typ].to), &got)
		if err != nil {
			t.Errorf("%v: %v", typ, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%v: -sent +received\n%s", typ, diff)
		}
	}
}

func TestMessagesGoOneWayOnly(t *testing.T) {
	for typ := Listen; typ <= numTypes; typ++ {
		m := sample(typ)
		b := m.Append(nil)
		for _, from := range parties {
			for _, to := range parties {
				var got Message
				err := Decode(b, m.Files, from, to, &got)
				allowed := table[typ].from&from != 0 && table[typ].to&to != 0
				if allowed != (err == nil) || !allowed && !errors.Is(err, ErrDirection) {
					t.Errorf("%v from %v to %v: %v", typ, from, to, err)
				}
			}
		}
	}
	var got Message
	m := sample(Syn)
	if err := Decode(m.Append(nil), nil, User, Child, &got); !errors.Is(err, ErrDirection) {
		t.Errorf("an application may forge a Syn: %v", err)
	}
}

func TestDecodeRefusesWhatIsWrong(t *testing.T) {
	set := func(off int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[off:], v); return b }
	}
	for _, c := range []struct {
		name   string
		typ    Type
		files  int
		damage func([]byte) []byte
		want   error
	}{
		{"nothing", Bind, 0, func(b []byte) []byte { return nil }, ErrShort},
		{"half a prefix", Bind, 0, func(b []byte) []byte { return b[:15] }, ErrShort},
		{"half a header", Bind, 0, func(b []byte) []byte { return b[:headerLen-1] }, ErrShort},
		{"another magic", Bind, 0, set(0, 'x'), ErrMagic},
		{"type 0", Bind, 0, set(5, 0), ErrType},
		{"a type beyond all", Bind, 0, set(5, numTypes+1), ErrType},
		{"type 255", Bind, 0, set(5, 255), ErrType},
		{"an operation for a type without", Bind, 0, set(6, byte(OpBind)), ErrOp},
		{"no operation for a type with", Listen, 0, set(6, byte(OpNone)), ErrOp},
		{"unknown operation", Listen, 0, set(6, 200), ErrOp},
		{"VCI of 16 bits", Bind, 0, set(13, 0x80), ErrVCI},
		{"reserved octet", Bind, 0, set(15, 1), ErrReserved},
		{"PDU announced, not there", Bind, 0, set(28, 1), ErrPDU},
		{"PDU there, not announced", Bind, 0, func(b []byte) []byte { return append(b, 0) }, ErrPDU},
		{"PDU for a type without", Bind, 0, func(b []byte) []byte { return append(set(28, 1)(b), 0) }, ErrPDU},
		{"no PDU for a type with", Syn, 0, func(b []byte) []byte { return set(28, 0)(b)[:headerLen] }, ErrPDU},
		{"PDU of 4 GiB", Syn, 0, set(28, 255, 255, 255, 255), ErrPDU},
		{"descriptors announced, not there", Spawn, 0, set(7, 1), ErrFiles},
		{"descriptors there, not announced", Spawn, 1, set(7, 0), ErrFiles},
		{"descriptors for a type without", Bind, 1, set(7, 1), ErrFiles},
		{"ports for a type without", Bind, 0, set(75, 0x80), ErrPorts},
		{"one too many", Spawn, 2, set(7, 2), ErrFiles},
	} {
		m := sample(c.typ)
		m.Files = nil
		b := c.damage(m.Append(nil))
		var got Message
		err := Decode(b, make([]int, c.files), one(table[c.typ].from), one(table[c.typ].to), &got)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestAnotherVersionCanBeAnswered(t *testing.T) {
	m := sample(Spawn)
	b := m.Append(nil)
	b[4] = Version + 1
	var got Message
	err := Decode(b[:16], m.Files, User, Server, &got)
	var ve *VersionError
	if !errors.As(err, &ve) || ve.Theirs != Version+1 {
		t.Fatalf("%v, want a VersionError", err)
	}
	if got.Type != Spawn || got.ID != m.ID || got.Files != nil {
		t.Errorf("decoded %+v, want type and ID and nothing else", got)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("version %d, this program version %d", Version+1, Version)) {
		t.Errorf("the error does not name the versions: %v", err)
	}
}

func TestAppendRefusesWhatCannotBeSent(t *testing.T) {
	for name, m := range map[string]Message{
		"PDU":         {Type: Syn, PDU: make([]byte, MaxPDU+1)},
		"descriptors": {Type: InitReply, Files: make([]int, MaxFiles+1)},
	} {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: ") {
					t.Errorf("too long a %s did not panic", name)
				}
			}()
			m.Append(nil)
		}()
	}
}

func FuzzDecode(f *testing.F) {
	for typ := Listen; typ <= numTypes; typ++ {
		m := sample(typ)
		f.Add(m.Append(nil), uint8(len(m.Files)), uint8(table[typ].from), uint8(table[typ].to))
	}
	f.Fuzz(func(t *testing.T, b []byte, files, from, to uint8) {
		var m, again Message
		fds := make([]int, files%(MaxFiles+2))
		if Decode(b, fds, Party(from), Party(to), &m) != nil {
			return
		}
		if len(m.Files) != len(fds) || len(m.PDU) > MaxPDU {
			t.Fatalf("decoded %d files of %d and a PDU of %d octets", len(m.Files), len(fds), len(m.PDU))
		}
		b2 := m.Append(nil)
		if string(b2) != string(b) {
			t.Fatalf("decoded and encoded again it differs:\n%x\n%x", b, b2)
		}
		if err := Decode(b2, fds, Party(from), Party(to), &again); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	m := sample(Bind)
	var got Message
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = m.Append(buf[:0])
		if err := Decode(buf, nil, User, Child, &got); err != nil {
			b.Fatal(err)
		}
	}
}
