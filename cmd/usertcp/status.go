package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"usertcp/internal/server"
)

func newStatus() *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [-socket PATH] [-json]",
		Short: "what a connection server works for",
		Long: `Show the children of a host's connection server: root sees all, others
their own.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				socket = defaultSocket()
			}
			snap, err := server.Status(cmd.Context(), socket)
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(snap)
			}
			return printStatus(cmd, &snap)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "`path` of the server's socket (default as for server)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "all that is known, as JSON")
	return cmd
}

func printStatus(cmd *cobra.Command, s *server.Snapshot) error {
	out := cmd.OutOrStdout()
	c := &s.Counters
	fmt.Fprintf(out, "ring id %d, addresses %v, %d hosts on the ring\n", s.RingID, s.Addrs, len(s.Hosts))
	fmt.Fprintf(out, "children: %d, started %d, replaced %d, taken over %d; in TIME-WAIT without child: %d\n",
		len(s.Children), c.Spawned, c.Restarted, c.Adopted, s.TimeWaits)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "vci\tchild\tprogram\tuser\tage\tports\tconnections\tcircuits\t")
	for _, k := range s.Children {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%v\t%d\t%d\t%d\t\n",
			uint16(k.VCI), k.PID, k.AppPID, k.UID, time.Since(k.Started).Round(time.Second), k.Ports, k.Flows, k.Circuits)
	}
	return w.Flush()
}
