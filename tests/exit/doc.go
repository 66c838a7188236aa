// Package exit holds the test that ends programs in every way a program can end, with
// their connections in every situation, and looks what their peers see; and the same over
// the kernel's TCP, so that nobody has to believe what that would be. No code that a
// program could use belongs here.
package exit
