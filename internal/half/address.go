package half

import (
	"net/netip"

	"usertcp/internal/wire"
)

// allHosts is the limited broadcast address; that of a subnet is known only to
// its routers.
var allHosts = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Unicast reports whether both ends of a flow are single hosts. "A TCP
// implementation MUST reject as an error a local OPEN call for an invalid remote
// IP address" (RFC 9293 MUST-46), and ignore what comes from one or for one
// (MUST-57, MUST-63).
func Unicast(f *wire.Flow) bool { return single(f.Local.Addr) && single(f.Remote.Addr) }

func single(a wire.Addr) bool {
	ip := a.Netip()
	return !a.IsZero() && !ip.IsMulticast() && ip != allHosts
}
