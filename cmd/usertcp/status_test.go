package main

import (
	"strings"
	"testing"

	"usertcp/internal/message"
	"usertcp/internal/server"
)

func TestStatusShowsLimits(t *testing.T) {
	var out strings.Builder
	err := printLimits(&out, &server.LimitsInfo{
		Limits: server.Limits{Memory: 3 << 29, Orphans: 65536, UserMemory: 8 << 30, UserSockets: 1 << 20},
		Usage:  message.PoolUsage{Buffers: 2 << 20, Orphans: 3, Reset: 7},
		Level:  1,
		Users:  []server.UserInfo{{UID: 1000, Children: 2, Sockets: 9, Orphans: 3, Buffers: 2 << 20, Memory: 5 << 20, Level: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(out.String()), " ")
	want := "buffers: 2M in use of 1.5G, under pressure; orphans: 3 of 65536, reset 7 " +
		"user children sockets orphans buffers memory 1000 2 9 3 2M, full 5M most 1048576 8G"
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if level(7) != "full" {
		t.Error("a level out of range has no name")
	}
}
