// Package demo shows in under a minute that user-space TCP works and how fast it
// is: a file between two programs, then a sweep over message sizes against the
// kernel's TCP, a table, a figure and a report; and, as root, each stack with each
// over network devices.
//
// How a measurement is made belongs to package perf, how a figure is drawn to
// package plot; neither must go in here.
package demo
