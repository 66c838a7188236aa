package main

import "testing"

func TestSizes(t *testing.T) {
	for _, row := range []struct {
		text string
		want uint64
		back string
	}{
		{"1", 1, "1"}, {"4096", 4096, "4K"}, {"64K", 64 << 10, "64K"}, {"3m", 3 << 20, "3M"}, {"1536M", 3 << 29, "1.5G"}, {"2T", 2 << 40, "2T"},
	} {
		var s size
		if err := s.Set(row.text); err != nil || uint64(s) != row.want || s.String() != row.back {
			t.Errorf("%s: %d, %q, %v; want %d, %q", row.text, uint64(s), s.String(), err, row.want, row.back)
		}
	}
	for _, text := range []string{"", "0", "K", "-1", "1.5G", "1X", "99999999T", "18446744073709551616"} {
		if err := new(size).Set(text); err == nil {
			t.Errorf("%q is taken for a size", text)
		}
	}
}
