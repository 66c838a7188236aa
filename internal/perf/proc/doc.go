// Package proc starts, watches, pins, clocks and ends the processes that a
// measurement consists of.
//
// A process here is always known by its id and ended by its id. Every wait has
// a bound, and the error at the end of it says what was waited for and what the
// process last said on its standard error.
//
// What a process does (roles, flags, results) must not go in here.
package proc
