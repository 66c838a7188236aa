package main

import (
	"errors"
	"strings"
	"testing"
)

// What is needed for devices is said in one line.
func TestNoLink(t *testing.T) {
	two := errors.Join(errors.New("one thing"), errors.New("another"))
	if got := noLink(0, nil); got != "" {
		t.Errorf("for root: %q", got)
	}
	if got := noLink(1000, two); !strings.HasPrefix(got, "as root this also measures") || len(got) > 80 {
		t.Errorf("for a user: %q", got)
	}
	if got := noLink(0, two); got != "network devices are not measured: one thing; another" {
		t.Errorf("for root on an old kernel: %q", got)
	}
}
