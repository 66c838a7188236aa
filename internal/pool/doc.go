// Package pool is the paper's pool model (section 3): sets of fixed-size
// buffers that belong to one application, limits on how many it may use for
// sending and receiving, and the small interface behind which a driver moves
// packets made of such buffers. What is in a packet does not matter here: no
// TCP belongs into this package.
package pool
