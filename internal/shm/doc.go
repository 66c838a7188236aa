// Package shm is memory that processes share: segments that are sealed against
// resizing and checked when attached, typed views into them, an allocator of
// indices, the lock and the bell that two parties use in them, and doorbells.
// All unsafe code of the project is here (and in what a driver truly needs).
// Nothing that knows what the memory holds belongs here: no TCP, no pools.
package shm
