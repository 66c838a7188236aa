package testhost

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"usertcp/internal/nic"
	"usertcp/internal/server"
)

// NICServer is the name of a program that is a connection server for devices until
// SIGTERM; it says "ready". Its arguments are its socket, the devices, a directory for
// pins, and what is denied; one in braces is its server.PoolOptions as JSON, and one that
// begins with ring= a ring's directory and the host's address there, with a comma between.
const NICServer = "nic-server"

func serveNIC(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var deny []nic.Rule
	var pools server.PoolOptions
	var ring string
	var addrs []netip.Addr
	for _, s := range args[3:] {
		if strings.HasPrefix(s, "{") {
			if err := json.Unmarshal([]byte(s), &pools); err != nil {
				return err
			}
			continue
		}
		if dir, ok := strings.CutPrefix(s, "ring="); ok {
			var addr string
			ring, addr, _ = strings.Cut(dir, ",")
			addrs = append(addrs, netip.MustParseAddr(addr))
			continue
		}
		r, err := nic.ParseRule(s)
		if err != nil {
			return err
		}
		deny = append(deny, r...)
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	return server.Run(ctx, server.Config{
		Ring: ring, Addrs: addrs,
		NIC:    &nic.Config{Devices: strings.Split(args[1], ","), Pins: args[2], Deny: deny},
		Socket: args[0], ChildCommand: []string{exe, ChildArg}, Pools: pools,
		Log:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Ready: func(*server.Server) { fmt.Println("ready") },
	})
}
