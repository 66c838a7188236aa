package main

import (
	"os"

	"github.com/spf13/cobra"

	"usertcp/internal/perf"
)

// newSendFile and newReceiveFile are the demo's two programs. They are hidden:
// nc does the same for people.
func newSendFile() *cobra.Command {
	var f stackFlags
	var path, to string
	cmd := &cobra.Command{
		Use:    "send-file -file FILE -to ADDR",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			st, err := f.open()
			if err != nil {
				return err
			}
			conn, err := st.Dial(cmd.Context(), to)
			if err != nil {
				return err
			}
			report, err := perf.SendFile(cmd.Context(), conn, file)
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), report)
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&path, "file", "", "`file` to send")
	cmd.Flags().StringVar(&to, "to", "", "`address` of the receiver")
	return cmd
}

func newReceiveFile() *cobra.Command {
	var f stackFlags
	cmd := &cobra.Command{
		Use:    "receive-file ADDR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			st, err := f.open()
			if err != nil {
				return err
			}
			l, err := listenAndSay(cmd, st, args[0])
			if err != nil {
				return err
			}
			_, err = perf.ReceiveFile(cmd.Context(), l)
			return err
		},
	}
	f.add(cmd.Flags())
	return cmd
}
