// Package wire is what travels: IPv4, IPv6, ICMP and TCP headers with their
// options, AAL-5 trailers and checksums. Each format is read in two steps: a
// check that the octets are all there, then a plain struct; Parse and Emit are
// each other's inverse. No state, no policy and nothing of the operating
// system belongs here.
package wire
