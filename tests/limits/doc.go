// Package limits holds the tests of what the programs of a host, and those of one user,
// may have together. No code that a program could use belongs here.
package limits
