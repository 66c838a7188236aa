package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"usertcp/internal/server"
	"usertcp/internal/wire"
)

func newKill() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "kill [-socket PATH] CHILD | LOCAL REMOTE",
		Short: "end connections that their programs have left",
		Long: `End orphans, connections that their programs have closed or that outlive
them: all of a child, by its process id, or one by both its ends, as status
shows them. Their peers get RST. Root may end all, others their own.`,
		Args: takes("CHILD, or LOCAL and REMOTE", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if socket == "" {
				socket = defaultSocket()
			}
			if len(args) == 2 {
				flow, err := parseFlow(args[0], args[1])
				if err != nil {
					return err
				}
				return server.EndOrphan(cmd.Context(), socket, flow)
			}
			child, err := strconv.ParseUint(args[0], 10, 31)
			if err != nil || child == 0 {
				return fmt.Errorf("invalid process id of a child %q", args[0])
			}
			n, err := server.EndOrphansOf(cmd.Context(), socket, int(child))
			if err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "%d orphans ended\n", n)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "`path` of the server's socket (default as for server)")
	return cmd
}

// parseFlow reads both ends of a connection.
func parseFlow(local, remote string) (f wire.Flow, err error) {
	for _, e := range []struct {
		text string
		end  *wire.Endpoint
	}{{local, &f.Local}, {remote, &f.Remote}} {
		a, err := netip.ParseAddrPort(e.text)
		if err != nil || a.Port() == 0 {
			return f, &net.ParseError{Type: "address and port", Text: e.text}
		}
		*e.end = wire.EndpointFrom(a)
	}
	return f, nil
}
