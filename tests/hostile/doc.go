// Package hostile holds the tests of programs that do to what they share with others
// whatever they can. No code that a program could use belongs here.
package hostile
