// Package upgrade holds the test that replaces the program while its connections go on:
// a connection server and children of one version, another server of the next. No code that
// a program could use belongs here.
package upgrade
