// Package interleave runs a few tasks under a scheduler of its own, in every
// order in which their steps can follow each other: a test of what two processes
// do in shared memory that does not hope for the right moment. It is for tests
// only; nothing that knows what the tasks do belongs here.
package interleave
