package netns

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

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
	return n.Do(func() error {
		family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
		if err != nil {
			return fmt.Errorf("offloads of %s: ethtool over netlink: %w", device, err)
		}
		if _, err := features(family.ID, device, on, names).Execute(unix.NETLINK_GENERIC, 0); err != nil {
			return fmt.Errorf("offloads of %s: %w", device, err)
		}
		return nil
	})
}

// features is the message that sets them.
func features(family uint16, device string, on bool, names []string) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: unix.ETHTOOL_MSG_FEATURES_SET, Version: unix.ETHTOOL_GENL_VERSION})
	header := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_HEADER|unix.NLA_F_NESTED, nil)
	header.AddRtAttr(unix.ETHTOOL_A_HEADER_DEV_NAME, nl.ZeroTerminated(device))
	req.AddData(header)
	wanted := nl.NewRtAttr(unix.ETHTOOL_A_FEATURES_WANTED|unix.NLA_F_NESTED, nil)
	bits := wanted.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS|unix.NLA_F_NESTED, nil)
	for _, name := range names {
		bit := bits.AddRtAttr(unix.ETHTOOL_A_BITSET_BITS_BIT|unix.NLA_F_NESTED, nil)
		bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_NAME, nl.ZeroTerminated(name))
		if on {
			bit.AddRtAttr(unix.ETHTOOL_A_BITSET_BIT_VALUE, nil)
		}
	}
	req.AddData(wanted)
	return req
}
