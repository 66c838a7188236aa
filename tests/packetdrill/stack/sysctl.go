package stack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysctls are the settings of the kernel that scripts change and that mean
// something here too.
type sysctls struct {
	timestamps, sack, windowScaling uint8
	synRetries, synAckRetries       uint8
	ecn                             uint8
	rmem, wmem                      uint32 // octets: the largest receive buffer, the usual send buffer
}

// readSysctls reads them from dir; what is not there is as Linux has it.
func readSysctls(dir string) sysctls {
	get := func(name string, field int, otherwise uint64) uint64 {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return otherwise
		}
		f := strings.Fields(string(b))
		if field >= len(f) {
			return otherwise
		}
		v, err := strconv.ParseUint(f[field], 10, 32)
		if err != nil {
			return otherwise
		}
		return v
	}
	flag := func(name string) uint8 { return uint8(min(get(name, 0, 1), 1)) }
	return sysctls{
		timestamps: flag("tcp_timestamps"), sack: flag("tcp_sack"), windowScaling: flag("tcp_window_scaling"),
		ecn:           uint8(min(get("tcp_ecn", 0, 2), 5)),
		synRetries:    uint8(min(get("tcp_syn_retries", 0, 6), 255)),
		synAckRetries: uint8(min(get("tcp_synack_retries", 0, 5), 255)),
		rmem:          uint32(get("tcp_rmem", 2, 6<<20)),
		wmem:          uint32(get("tcp_wmem", 1, 1<<20)),
	}
}
