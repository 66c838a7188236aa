// Package tidy polices the repository: its tests hold the rules that keep it
// readable, each with its reason, and check that the documents say what the code
// says. What the code does is tested beside the code and does not belong here.
package tidy
