package proc

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParseCPUs(t *testing.T) {
	good := map[string][]int{
		"0":       {0},
		"2,0":     {0, 2},
		"0-3":     {0, 1, 2, 3},
		"1-2,2,5": {1, 2, 5},
		"1023":    {1023},
	}
	for in, want := range good {
		got, err := ParseCPUs(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseCPUs(%q) = %v, %v; want %v", in, got, err, want)
		}
		again, err := ParseCPUs(FormatCPUs(got))
		if err != nil || !slices.Equal(again, want) {
			t.Errorf("ParseCPUs(FormatCPUs(%v)) = %v, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", "-1", "x", "3-1", "0,", "1024", "0-", "0 1", "99999999999"} {
		if got, err := ParseCPUs(bad); err == nil {
			t.Errorf("ParseCPUs(%q) = %v, want an error", bad, got)
		}
	}
}

func TestPinStartsTheProgramOnThatCPU(t *testing.T) {
	allowed, err := AllowedCPUs()
	if err != nil || len(allowed) == 0 {
		t.Fatalf("AllowedCPUs = %v, %v", allowed, err)
	}
	last := strconv.Itoa(allowed[len(allowed)-1])
	for _, list := range []string{last, FormatCPUs(allowed)} {
		p := start(t, "pin", "PROC_TEST_CPUS="+list)
		got, err := p.WaitLine(t.Context(), time.Minute, "on ")
		if want := list + " <nil>"; err != nil || got != want {
			t.Errorf("on %q, %v; want %q", got, err, want)
		}
	}
}

func TestPinToAMissingCPU(t *testing.T) {
	err := start(t, "pin", "PROC_TEST_CPUS=1023").Wait(t.Context(), time.Minute)
	if err == nil || !strings.Contains(err.Error(), "CPU 1023 is not available (there are: 0") {
		t.Errorf("error %v, want one that names CPU 1023 and those there are", err)
	}
	if err := checkAllowed(nil, []int{0}); err == nil {
		t.Error("an empty list was accepted")
	}
}
