package stack

import (
	"strconv"

	"usertcp/internal/tcp"
)

// shape sets the options that say how data is cut into packets, as the settings in
// dir have it.
func shape(o *tcp.ConnOptions, dir string) {
	get := func(name string) (uint8, bool) {
		v, err := strconv.ParseUint(sysctlField(dir, name, 0), 10, 32)
		return uint8(min(v, 255)), err == nil
	}
	if v, ok := get("tcp_min_tso_segs"); ok {
		o.LeastTrain = v
	}
	if v, ok := get("tcp_tso_win_divisor"); ok {
		o.TrainParts = v
	}
	if v, ok := get("tcp_slow_start_after_idle"); ok && v == 0 {
		o.KeepWindow = 1
	}
}

// SetOffload says whether the device takes trains as they are.
func (s *Stack) SetOffload(on bool) { s.dev.cuts.Store(!on) }
