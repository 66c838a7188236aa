// Package ethtool sets a network device's features by the kernel's ethtool messages over
// netlink (Documentation/networking/ethtool-netlink.rst).
package ethtool

import (
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// SetFeatures switches features of a device on or off, in the calling thread's network
// namespace. They have the names that ethtool gives them. The error of a kernel without
// ethtool over netlink wraps ENOENT.
func SetFeatures(device string, on bool, names ...string) error {
	family, err := netlink.GenlFamilyGet(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return fmt.Errorf("features of %s: ethtool over netlink: %w", device, err)
	}
	if _, err := request(family.ID, device, on, names).Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("features of %s (%s): %w", device, strings.Join(names, ", "), err)
	}
	return nil
}

// request is ETHTOOL_MSG_FEATURES_SET.
func request(family uint16, device string, on bool, names []string) *nl.NetlinkRequest {
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
