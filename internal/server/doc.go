// Package server is the connection server (paper section 4.4.7): the trusted
// process of a host that starts a child for each application, keeps the host's
// ports, hands the SYNs that come for them to the right child, and relays what
// has no circuit yet between the children of its host and the other hosts.
//
// A connection is made like this; once it is, the server has no part in it:
//
//	connector's child            connector's server    listener's server    listener's child
//	   ── Forward{remote} ────────────►│                     │◄── Listen ───────────│
//	   ◄─ General_Reply{local} ────────│                     │── General_Reply ────►│
//	   ── frame PDU{SYN} ─────────────►│── frame PDU{SYN} ──►│                      │
//	                                   │                     │── Syn{PDU,RxVCI} ───►│
//	   ◄── frame Attach ───────────────│◄────────────────────│◄── frame Attach ─────│
//	   ── frame Attach ───────────────►│────────────────────►│── frame Attach ─────►│
//	                                   │                     │◄── Divert ───────────│
//	   ◄══════════════════════ circuit: SYN+ACK, data ═══════════════════════════►
//
// No TCP state is here beyond which child a pair of ends belongs to, and no
// application's memory is ever mapped: neither belongs here.
package server
