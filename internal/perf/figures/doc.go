// Package figures repeats the paper's experiment (section 5): throughput and the
// sender's CPU time over message size, for each arrangement of the user-space TCP and
// for the kernel's. It does not measure itself: that is package perf's.
package figures
