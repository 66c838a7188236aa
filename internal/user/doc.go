// Package user is the user process's way to its top half (paper section 4.3): it
// finds the connection server, has it spawn a child, attaches the segment that
// the child has made, and asks the child for what only the child can do. What
// the library looks like to programs does not belong here.
package user
