package shm

import (
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
)

// Fingerprint returns a number that changes with the layout of the given
// structs: the names, types and offsets of their fields. It serves as version of
// a segment, so that processes built from different sources find out at once.
func Fingerprint(structs ...any) uint32 {
	h := fnv.New32a()
	for _, s := range structs {
		describe(h, reflect.TypeOf(s))
	}
	return h.Sum32()
}

func describe(w io.Writer, t reflect.Type) {
	fmt.Fprint(w, t.Kind(), t.Size(), ";")
	switch t.Kind() {
	case reflect.Array:
		describe(w, t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprint(w, f.Name, f.Offset, ":")
			describe(w, f.Type)
		}
	}
}
