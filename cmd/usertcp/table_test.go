package main

import (
	"strings"
	"testing"
	"time"

	"usertcp/internal/perf/table"
)

func TestRowsOfTheLinksAskedFor(t *testing.T) {
	ring := table.Config{Time: time.Second, Repeat: 1}
	if err := chooseRows(&ring, "ring"); err != nil || len(ring.Rows) == 0 || ring.NoLink == "" {
		t.Errorf("%v, %d rows, no link: %q", err, len(ring.Rows), ring.NoLink)
	}
	for _, r := range ring.Rows {
		if r.Link != "ring" {
			t.Errorf("%s is over %s", r.Name, r.Link)
		}
	}
	all := table.Config{Time: time.Second, Repeat: 1}
	if err := chooseRows(&all, "all"); err != nil || len(all.Rows) != len(table.Rows()) {
		t.Errorf("%v, %d rows", err, len(all.Rows))
	}
	if can, _ := served("nic"); can != (all.NoLink == "") {
		t.Errorf("devices can be served: %v; the table says %q", can, all.NoLink)
	}
}

func TestTableFlagsAreChecked(t *testing.T) {
	for want, c := range map[string]struct {
		links string
		table.Config
	}{
		`unknown link "x" (there are: ring, nic, all)`: {"x", table.Config{Time: time.Second, Repeat: 1}},
		"0 repetitions": {"ring", table.Config{Time: time.Second}},
		"time 0s":       {"ring", table.Config{Repeat: 1}},
	} {
		if err := chooseRows(&c.Config, c.links); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
