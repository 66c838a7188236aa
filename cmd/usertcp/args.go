package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// doubleDashes rewrites long flags with a single dash, as in -ring DIR, to the
// form that cobra knows. Values of flags, and everything after "--", stay as
// they are. Shorthands are single letters, and are never written together.
func doubleDashes(root *cobra.Command, args []string) []string {
	cmd := findCommand(root, args)
	rewritten := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(rewritten, args[i:]...)
		}
		if isLongFlag(arg) {
			arg = "--" + strings.TrimLeft(arg, "-")
		}
		rewritten = append(rewritten, arg)
		if takesNext(cmd, arg) && i+1 < len(args) {
			i++
			rewritten = append(rewritten, args[i])
		}
	}
	return rewritten
}

// findCommand returns the subcommand that the first argument names.
func findCommand(root *cobra.Command, args []string) *cobra.Command {
	if len(args) > 0 {
		for _, cmd := range root.Commands() {
			if cmd.Name() == args[0] {
				return cmd
			}
		}
	}
	return root
}

// isLongFlag recognises -name, -name=value and their forms with two dashes, but
// not a lone dash, a shorthand, or a negative number.
func isLongFlag(arg string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	return strings.HasPrefix(arg, "-") && len(name) > 1 && isLetter(name[0]) && name[1] != '='
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// takesNext reports whether arg is a flag whose value is the next argument.
func takesNext(cmd *cobra.Command, arg string) bool {
	name, isLong := strings.CutPrefix(arg, "--")
	if strings.Contains(arg, "=") || !strings.HasPrefix(arg, "-") {
		return false
	}
	var flag *pflag.Flag
	switch {
	case isLong:
		flag = cmd.Flags().Lookup(name)
	case len(arg) == 2:
		flag = cmd.Flags().ShorthandLookup(arg[1:])
	}
	return flag != nil && flag.NoOptDefVal == ""
}
