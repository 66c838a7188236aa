// Package stack is user-space TCP as packetdrill sees a system: sockets with
// kernel descriptors, and a network device that hands over and takes whole IP
// packets. It has a segment and a top half of its own, no child and no
// connection server. Nothing of C belongs here: that is the library around it.
package stack
