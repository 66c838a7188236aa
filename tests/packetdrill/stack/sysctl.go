package stack

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sysctlDir is where the network namespace has its settings.
const sysctlDir = "/proc/sys/net/ipv4"

// sysctls are the settings of the kernel that scripts change and that mean
// something here too.
type sysctls struct {
	timestamps, sack, windowScaling    uint8
	ecn, mtuProbing                    uint8
	synRetries, synAckRetries, retries uint8
	keepCount                          uint8
	baseMSS, floorMSS                  uint16 // octets; 0: ours
	keepIdle, keepInterval             uint32 // s
	notSentLowat                       uint32 // octets; 0: no limit
	rmem                               uint32 // octets, the largest receive buffer
	wmem, wmemMax                      uint32 // octets, send buffer at first and at most
	congestion                         string
	fast                               uint32 // bits of tcp_fastopen
	fastKeys                           []byte
}

// readSysctls reads them from dir; what is not there is as Linux has it.
func readSysctls(dir string) sysctls {
	get := func(name string, field int, otherwise uint64) uint64 {
		v, err := strconv.ParseUint(sysctlField(dir, name, field), 10, 32)
		if err != nil {
			return otherwise
		}
		return v
	}
	upTo := func(most uint64, name string, otherwise uint64) uint8 {
		return uint8(min(get(name, 0, otherwise), most))
	}
	s := sysctls{
		timestamps: upTo(1, "tcp_timestamps", 1), sack: upTo(1, "tcp_sack", 1), windowScaling: upTo(1, "tcp_window_scaling", 1),
		ecn: upTo(5, "tcp_ecn", 2), mtuProbing: upTo(2, "tcp_mtu_probing", 0),
		synRetries: upTo(255, "tcp_syn_retries", 6), synAckRetries: upTo(255, "tcp_synack_retries", 5),
		retries: upTo(255, "tcp_retries2", 15), keepCount: upTo(255, "tcp_keepalive_probes", 9),
		keepIdle: uint32(get("tcp_keepalive_time", 0, 7200)), keepInterval: uint32(get("tcp_keepalive_intvl", 0, 75)),
		baseMSS:  uint16(min(get("tcp_base_mss", 0, 0), 32767)),
		floorMSS: uint16(min(get("tcp_mtu_probe_floor", 0, 0), 32767)),
		rmem:     uint32(get("tcp_rmem", 2, 6<<20)),
		wmem:     uint32(get("tcp_wmem", 1, 1<<20)), wmemMax: uint32(get("tcp_wmem", 2, 4<<20)),
		congestion: sysctlField(dir, "tcp_congestion_control", 0),
		fast:       uint32(get("tcp_fastopen", 0, fastClient)), fastKeys: parseFastKeys(sysctlField(dir, "tcp_fastopen_key", 0)),
	}
	if low := get("tcp_notsent_lowat", 0, noLowat); low < noLowat {
		s.notSentLowat = uint32(low)
	}
	return s
}

// noLowat is a tcp_notsent_lowat that is no limit.
const noLowat = 1<<32 - 1

// sysctlField returns a word of a setting, "" if there is none.
func sysctlField(dir, name string, field int) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if f := strings.Fields(string(b)); err == nil && field < len(f) {
		return f[field]
	}
	return ""
}
