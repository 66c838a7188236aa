package tcp

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

// The layout that both halves compile in. A change here is a change of the
// segment's version.
var (
	_ [ConnSize]byte              = [unsafe.Sizeof(Conn{})]byte{}
	_ [88]byte                    = [unsafe.Sizeof(ConnOptions{})]byte{}
	_ [32]byte                    = [unsafe.Sizeof(Chunk{})]byte{}
	_ [16]byte                    = [unsafe.Sizeof(Queue{})]byte{}
	_ [2 * (1024*8 + 512*20)]byte = [unsafe.Sizeof(Annex{})]byte{}
	_ [0]byte                     = [unsafe.Offsetof(Conn{}.State)]byte{}
	_ [2]byte                     = [unsafe.Offsetof(Conn{}.Events)]byte{}
	_ [8]byte                     = [unsafe.Offsetof(Conn{}.Flow)]byte{}
	_ [48]byte                    = [unsafe.Offsetof(Conn{}.Opt)]byte{}
	_ [136]byte                   = [unsafe.Offsetof(Conn{}.SndQ)]byte{}
	_ [152]byte                   = [unsafe.Offsetof(Conn{}.RcvQ)]byte{}
	_ [168]byte                   = [unsafe.Offsetof(Conn{}.RcvHead)]byte{}
	_ [172]byte                   = [unsafe.Offsetof(Conn{}.Annex)]byte{}
	_ [176]byte                   = [unsafe.Offsetof(Conn{}.Freed)]byte{}
	_ [224]byte                   = [unsafe.Offsetof(Conn{}.Spent)]byte{}
	_ [232]byte                   = [unsafe.Offsetof(Conn{}.snd)]byte{}
	_ [0]byte                     = [ConnSize % 64]byte{}
)

func TestSharedStructsHaveNoPadding(t *testing.T) {
	for _, v := range []any{Conn{}, ConnOptions{}, Chunk{}, Queue{}, Annex{}} {
		noPadding(t, reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
}

// noPadding fails the test if the compiler leaves octets of x unnamed.
func noPadding(t *testing.T, x reflect.Type, name string) {
	switch x.Kind() {
	case reflect.Array:
		noPadding(t, x.Elem(), name+"[]")
	case reflect.Struct:
		at := uintptr(0)
		for i := range x.NumField() {
			f := x.Field(i)
			if f.Offset != at {
				t.Errorf("%s: %d octets of padding before %s", name, f.Offset-at, f.Name)
			}
			at = f.Offset + f.Type.Size()
			noPadding(t, f.Type, name+"."+f.Name)
		}
		if at != x.Size() {
			t.Errorf("%s: %d octets of padding at the end", name, x.Size()-at)
		}
	}
}

func TestConnIsPlain(t *testing.T) { plain(t, reflect.TypeFor[Conn](), "Conn") }

// plain fails the test if x holds a pointer or an integer whose size depends on
// the machine.
func plain(t *testing.T, x reflect.Type, name string) {
	switch x.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Int64:
	case reflect.Array:
		plain(t, x.Elem(), name+"[]")
	case reflect.Struct:
		for i := range x.NumField() {
			plain(t, x.Field(i).Type, name+"."+x.Field(i).Name)
		}
	default:
		t.Errorf("%s is a %s", name, x.Kind())
	}
}

func TestImportsNothingOfTheOperatingSystem(t *testing.T) {
	allowed := map[string]bool{
		"encoding/binary": true, "errors": true, "math/bits": true, "strconv": true,
		"usertcp/internal/seq": true, "usertcp/internal/wire": true,
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); !allowed[path] {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}
