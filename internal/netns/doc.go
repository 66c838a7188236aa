// Package netns makes network namespaces, joins them by veth pairs, and runs
// things in them, without touching the machine's own network. A namespace has no
// name: it is held by a descriptor, and by the processes in it, so that it goes
// with the last of them however they end.
//
// Who talks to whom in a namespace must not go in here, nor may anything that
// the connection server or an application links.
package netns
