package netns

import "usertcp/internal/ethtool"

// Offloads are the features of a device by which packets larger than the MTU and
// partial checksums cross it, as ethtool names them.
var Offloads = []string{
	"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation",
	"tx-generic-segmentation", "tx-checksum-ip-generic", "tx-checksum-sctp", "rx-gro",
}

// SetOffloads switches features of a device on or off, those of Offloads if none
// are named. The error of a kernel without ethtool over netlink wraps ENOENT.
func (n *Namespace) SetOffloads(device string, on bool, names ...string) error {
	if len(names) == 0 {
		names = Offloads
	}
	return n.Do(func() error { return ethtool.SetFeatures(device, on, names...) })
}
