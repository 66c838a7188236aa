// Package ring is a software Jetstream (paper section 2): hosts on a ring, each
// a connection server with a ring id, whose applications exchange PDUs of up to
// 65,535 octets over virtual circuits in memory that they share. It is a driver
// for package pool. What PDUs mean does not belong here, beyond the addresses
// that a connection server needs to pass on the first segment of a connection.
package ring
