// Package usertcp is TCP in user space: Dial and Listen return a net.Conn and a
// net.Listener whose TCP runs in this process and in a child of the connection
// server's, in memory that the two share. Data that Write has accepted arrives
// even if this process ends; the common path of Read and Write enters neither
// the kernel nor another process.
//
// A program finds its connection server by $USERTCP_SERVER, the path of the
// server's socket; then at $XDG_RUNTIME_DIR/usertcp.sock (or
// /run/user/UID/usertcp.sock); then at /run/usertcp.sock. The first Dial or
// Listen has the server start the child.
//
//	conn, err := usertcp.Dial("tcp", "10.1.0.2:80")
//
// The package reads like package net: addresses are *net.TCPAddr, errors are
// *net.OpError. How packets move does not belong here.
package usertcp
