// Package nic holds tests of whole hosts in network namespaces of their own: a
// connection server that serves the devices there, programs over user-space TCP, and
// the kernel's TCP beside them and at the other end of the wire. They skip with the
// reason where they lack the privileges. What can be tested without a network
// does not belong here.
package nic
