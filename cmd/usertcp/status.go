package main

import (
	"encoding/json"
	"fmt"
	"io"
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
		Long: `Show the children of a host's connection server, and what each has:
listeners, connections, and orphans, whose programs have closed them or have
ended. Root sees all, others their own.`,
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
	orphans := 0
	for _, k := range s.Children {
		if k.Sockets != nil {
			orphans += k.Sockets.Orphans
		}
	}
	fmt.Fprintf(out, "children: %d, started %d, replaced %d, taken over %d; orphans: %d, killed %d; in TIME-WAIT without child: %d\n",
		len(s.Children), c.Spawned, c.Restarted, c.Adopted, orphans, c.Killed, s.TimeWaits)
	if err := printLimits(out, &s.Limits); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "vci\tchild\tprogram\tuser\tage\tports\tconnections\tcircuits\tbuffers\tmemory\t")
	for _, k := range s.Children {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%v\t%d\t%d\t%d\t%s\t%s\t\n",
			uint16(k.VCI), k.PID, k.AppPID, k.UID, time.Since(k.Started).Round(time.Second), k.Ports, k.Flows, k.Circuits,
			octets(k.Usage.Buffers), octets(k.Usage.Memory))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := printWork(out, s); err != nil {
		return err
	}
	return printSockets(out, s)
}

// printWork prints what the pools have done.
func printWork(out io.Writer, s *server.Snapshot) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "child\tscripts\toperations\tcrossings\tcache hits\tmisses\tflushes\t")
	for _, k := range s.Children {
		if k.Sockets == nil {
			continue
		}
		p, n := &k.Sockets.Work, uint64(0)
		for _, m := range p.Operations {
			n += m
		}
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", k.PID, p.Scripts, n, p.Crossings, p.Hits, p.Misses, p.Flushes)
	}
	return w.Flush()
}

// levels are the names of the levels of memory.
var levels = [...]string{"plenty", "under pressure", "full"}

func level(l uint32) string { return levels[min(int(l), len(levels)-1)] }

// printLimits prints what is limited: of the host, and of each user.
func printLimits(out io.Writer, l *server.LimitsInfo) error {
	fmt.Fprintf(out, "buffers: %s in use of %s, %s; orphans: %d of %d, reset %d\n",
		octets(l.Usage.Buffers), octets(l.Limits.Memory), level(l.Level), l.Usage.Orphans, l.Limits.Orphans, l.Usage.Reset)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "user\tchildren\tsockets\torphans\tbuffers\tmemory\t")
	for _, u := range l.Users {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s, %s\t%s\t\n", u.UID, u.Children, u.Sockets, u.Orphans, octets(u.Buffers), level(u.Level), octets(u.Memory))
	}
	fmt.Fprintf(w, "most\t\t%d\t\t\t%s\t\n", l.Limits.UserSockets, octets(l.Limits.UserMemory))
	return w.Flush()
}

// printSockets prints what the children have, as ss does.
func printSockets(out io.Writer, s *server.Snapshot) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "child\tstate\trecv-q\tsend-q\tlocal\tremote\tage\t")
	for _, k := range s.Children {
		if k.Sockets == nil {
			fmt.Fprintf(w, "%d\tdoes not answer\t\t\t\t\t\t\n", k.PID)
			continue
		}
		for _, c := range k.Sockets.Sockets {
			orphan := ""
			if c.Orphan {
				orphan = "orphan"
			}
			remote := c.Remote.String()
			if c.Remote.Port() == 0 {
				remote = "*"
			}
			fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%v\t%s\t%v\t%s\n", k.PID, c.State, c.Unread, c.Unsent, c.Local, remote, time.Duration(c.Age)*time.Second, orphan)
		}
		if k.Sockets.More > 0 {
			fmt.Fprintf(w, "%d\tand %d more\t\t\t\t\t\t\n", k.PID, k.Sockets.More)
		}
	}
	return w.Flush()
}
