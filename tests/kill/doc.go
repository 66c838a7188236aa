// Package kill holds the test that kills programs at random instants while they send
// and receive at full speed, and looks whether anything that was promised is lost. No
// code that a program could use belongs here.
package kill
