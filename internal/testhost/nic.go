package testhost

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"usertcp/internal/nic"
	"usertcp/internal/server"
)

// NICServer is the name of a program that is a connection server for devices until
// SIGTERM; it says "ready". Its arguments are its socket, the devices, a directory for
// pins, and what is denied; one in braces is its server.PoolOptions as JSON.
const NICServer = "nic-server"

func serveNIC(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var deny []nic.Rule
	var pools server.PoolOptions
	for _, s := range args[3:] {
		if strings.HasPrefix(s, "{") {
			if err := json.Unmarshal([]byte(s), &pools); err != nil {
				return err
			}
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
		NIC:    &nic.Config{Devices: strings.Split(args[1], ","), Pins: args[2], Deny: deny},
		Socket: args[0], ChildCommand: []string{exe, ChildArg}, Pools: pools,
		Log:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Ready: func(*server.Server) { fmt.Println("ready") },
	})
}
