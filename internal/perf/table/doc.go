// Package table takes all rows of the speed table in one run: each test over the ring
// and over network devices, in turns with the kernel's TCP, beside what is aimed at.
// It writes them as Markdown and JSON.
//
// How a measurement is made belongs to package perf and must not go in here.
package table
