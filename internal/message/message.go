// Package message is how the three kinds of process talk: the paper's 16
// control messages (appendix A.3) under their names and eleven of our own, and packets with file
// descriptors over Unix SOCK_SEQPACKET sockets, so that the death of a peer is
// seen as end of file. What a message makes a process do does not belong here.
package message

import (
	"usertcp/internal/wire"
)

// Type says which of the 16 messages it is.
type Type uint8

// The paper's 16 messages (A.3), in its order.
const (
	Listen Type = 1 + iota
	Forward
	Divert
	Syn
	Spawn
	NewSocket
	Bind
	ListenChild
	Connect
	SetTxBufs
	SetRxBufs
	SetReuseAddr
	InitReply
	BindReply
	ConnectReply
	GeneralReply

	numPaper = iota
)

// Messages that the paper has not: what outlives a child or a server goes over to
// its successor by them.
const (
	Keep Type = 1 + numPaper + iota
	Adopt
	TimeWait
	Status
	HandOver
	TakeOver
	Sockets
	End
	Usage
	Limits
	Move

	numTypes = numPaper + iota
)

// What a Keep is about, in its N.
const (
	KeepEnd     = iota // of a list; from a child that ends: it ends in order
	KeepUser           // Files: the child's end of the application's channel, and the child's meeting point; Socket=when it was started, s since 1970
	KeepRing           // Files: the lock on the host's ring id
	KeepMemory         // Files: segment, bell page, doorbells of the top half and the bottom half, and what else the driver has
	KeepCircuit        // VCI=peer, Socket=its index, Files: own memory, then what the peer offered; none: it is no more
	KeepBind           // Socket, Local, Op=listen if it listens, VCI=how it was taken (BindHow); Files: the kernel's bind points
	KeepFlow           // Socket, Local, Remote; Files: the kernel's bind points
	KeepLease          // Local.Port=the first of a block of ports; if it is for the devices, Ports, and Files: what keeps them in the kernel
	KeepOffer          // Name, Socket=how long it still lasts, ms, VCI=1 if nobody uses the segment, 2 if the sockets are still to come; Files: the list of sockets; none: it is no more
	KeepTaken          // Socket, Local, Remote: this local end, or connection, is another child's now
	KeepOver           // Local, Remote: a connection that went from this child to another has ended there
	KeepProgram        // Files: the executable that the child runs
)

// Party is one of the three kinds of process.
type Party uint8

// The parties.
const (
	User Party = 1 << iota
	Child
	Server
)

// Op says what a Listen, Forward or NewSocket message asks for.
type Op uint8

// The operations.
const (
	OpNone    Op = iota
	OpBind       // Listen: take a local address; Local.Port 0 asks for any port
	OpListen     // Listen: SYNs for the address taken before go to this child
	OpClose      // Listen, Forward: give it back
	OpOpen       // Forward: take a connection; Local.Port 0 asks for an ephemeral port
	OpLink       // NewSocket: N is a link whose descriptors the application lacks
	OpLease      // Listen: a block of ports for connections to be opened without asking
	OpUnlease    // Listen: such a block is given back
)

// DevicePorts is the number of ports in a block that is leased for the devices.
const DevicePorts = 64

// MaxPDU is the longest PDU that a message carries, in octets.
const MaxPDU = 65535

// MaxFiles is the largest number of descriptors that a message carries.
const MaxFiles = 8

// Version is the version of the messages. Processes of different versions don't talk.
const Version = 6

// NoSocket is the Socket of a Forward whose connection came in by a listener.
const NoSocket = ^uint32(0)

// Message is any of the messages; the table below says which fields each uses.
type Message struct {
	Type   Type
	Op     Op
	VCI    wire.VCI
	ID     uint32 // of the request; its reply carries the same
	Errno  uint32 // in replies: 0, or an errno of Linux
	Socket uint32 // index of the connection in the segment
	N      uint32 // backlog, number of buffers, link, or version
	Local  wire.Endpoint
	Remote wire.Endpoint
	Ports  uint64 // of a block for the devices: bit n is set if its port n is lent; in General_Reply and Keep
	PDU    []byte // an IP packet; aliases the receive buffer
	Files  []int  // descriptors; the receiver owns them
}

// form is one row of the table: who says it to whom, what it is for, what it carries.
type form struct {
	name     string
	from, to Party
	pdu      bool // carries a PDU
	files    int  // largest number of descriptors
	about    string
}

// table documents the messages, and is what Decode checks against.
var table = [numTypes + 1]form{
	Listen:       {"Listen", Child, Server, false, 0, "Socket, Op=bind with Local and N=how: 1 for SO_REUSEADDR, from bit 4 on the shard and from bit 8 on how many have the end together, Op=listen, Op=close: take a port, let its SYNs come, give it back; Op=lease: take a block of ports, N=1 for connections by the devices, which Op=unlease with Local gives back; General_Reply with Local (the first of a block), N=MTU of the devices there, Ports that are lent of a block for the devices, and the kernel's bind points or what holds those of a block"},
	Forward:      {"Forward", Child, Server, false, 0, "Op, Local, Remote, Socket: packets of this connection go to this child, or no longer; Op=open with N=1 if the child can make it follow a connection in TIME-WAIT, Op=close with N=1 if it has not begun; General_Reply with Local, N=MTU of the way if that is by a device, and bit 16 if a Time_Wait with what it follows came before, and the kernel's bind points"},
	Divert:       {"Divert", Child, Server, false, 0, "ID of a Syn, Errno: 0 if it was taken; EAGAIN, ENOBUFS, ENOMEM: dropped; else answered with RST"},
	Syn:          {"Syn", Server, Child, true, 0, "PDU, VCI=connector's RxVCI, Socket listens, Local, Remote: a SYN came for a port of this child; Divert"},
	Spawn:        {"Spawn", User, Server, false, 1, "N=version, Files: the child's end of a new channel; the server forks a child, which sends Init_Reply; General_Reply with VCI"},
	NewSocket:    {"New_Socket", User, Child, false, 0, "Socket made, or Op=link, N=link whose descriptors are wanted; General_Reply with Files"},
	Bind:         {"Bind", User, Child, false, 0, "Socket, Local, N=how, as for Listen: Bind_Reply"},
	ListenChild:  {"Listen_Child", User, Child, false, 0, "Socket, N=backlog: General_Reply"},
	Connect:      {"Connect", User, Child, false, 0, "Socket, Local, Remote: Connect_Reply"},
	SetTxBufs:    {"Set_Tx_Bufs", User, Child, false, 0, "N=buffers: the pool's Tx limit; General_Reply"},
	SetRxBufs:    {"Set_Rx_Bufs", User, Child, false, 0, "N=buffers: the pool's Rx limit; General_Reply"},
	SetReuseAddr: {"Set_Reuse_Addr", User, Child, false, 0, "Socket, N=0 or 1; General_Reply"},
	InitReply:    {"Init_Reply", Child, User, false, 6, "Errno, N=version, VCI=the pool's, Socket=the child's process id, Files: the segment, the pool's bell page, its eventfds, its semaphore if the lock is one, and its TAP device if it has one"},
	BindReply:    {"Bind_Reply", Child, User, false, 0, "Errno, Local"},
	ConnectReply: {"Connect_Reply", Child, User, false, 0, "Errno, Local: the SYN has left, or why not"},
	GeneralReply: {"General_Reply", Child | Server, User | Child | Server, false, 8, "Errno, and what the request's row says"},
	Keep:         {"Keep", Child | Server, Server | Child, false, 8, "N=what: the child tells what a successor of it, or of the server, needs, and gets the same when it takes over"},
	Adopt:        {"Adopt", Server, Child, false, 2, "N=version, Files: channels for messages and frames: a new server takes the child over, which answers with all that it keeps"},
	TimeWait:     {"Time_Wait", Child | Server, Server | Child, true, 0, "PDU=what TIME-WAIT needs of connections whose program has ended, or wants the port for another one, one behind the other: the server answers their segments from now on; General_Reply, N=how many of them it has taken. From the server, before it answers a Listen (lease): those of them whose ports are lent with the block; before it answers a Forward (open): the one that the connection follows"},
	HandOver:     {"Hand_Over", User | Child, Child | Server, false, 1, "Name, N=how long, ms, Socket=1 if the sockets are still to come, Files: a list of sockets, for who takes them: they are offered; General_Reply. Without Files, from the application: it does not use the segment any more; General_Reply"},
	TakeOver:     {"Take_Over", User | Server, Server | Child, false, 1, "Name, N=version, Files: the child's end of a new channel, which the server passes on: this process takes what is offered; General_Reply with VCI, and Init_Reply from the child. From the application to the child, without Files: it has it; General_Reply with the list"},
	Status:       {"Status", User, Server, false, 1, "Files: a pipe, into which the server writes what it knows of this user's children, or for root of all; General_Reply"},
	Sockets:      {"Sockets", Server, Child, false, 1, "Files: a pipe, into which the child writes its connections and listeners"},
	Move:         {"Move", User | Child, Child | Server, false, 0, "claims what has come into the segment from another child's: General_Reply. From the child, Op=listen or open, Socket, Local, Remote, VCI=the other child, N=the socket's index there: General_Reply with Socket (as for Keep), N=MTU, and from bit 16 on whether the local end came along and with SO_REUSEADDR, and the kernel's bind points. Op=open with VCI=its own asks which other child has a connection that it has had: General_Reply with VCI, or ENOENT"},
	Usage:        {"Usage", Child, Server, true, 0, "PDU=what the pool has in use: octets of buffers, octets of memory, sockets, orphans, and how many were one too many; when that has changed by a step"},
	Limits:       {"Limits", Server, Child, true, 0, "PDU=what the pool may have: the level of memory, orphans, sockets, octets of memory, and how long orphans last; and by which steps to tell of what it has. First of all, and when it changes"},
	End:          {"End", User | Server, Server | Child, false, 0, "Local, Remote: this orphan, or Socket=process id of a child: all its orphans end, with RST; General_Reply with N=how many"},
}

// Name is by what sockets that are handed over are found: the SHA-256 of the name that
// people use.
type Name [32]byte

// SetName puts a name into a message: half of it takes the place of each address.
func (m *Message) SetName(n Name) {
	copy(m.Local.Addr[:], n[:16])
	copy(m.Remote.Addr[:], n[16:])
}

// Name returns the name that is in a message.
func (m *Message) Name() (n Name) {
	copy(n[:16], m.Local.Addr[:])
	copy(n[16:], m.Remote.Addr[:])
	return n
}

// String returns the message's name in the paper.
func (t Type) String() string {
	if t == 0 || int(t) >= len(table) {
		return "unknown"
	}
	return table[t].name
}
