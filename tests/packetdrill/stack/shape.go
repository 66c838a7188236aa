package stack

import (
	"path/filepath"
	"strconv"
	"strings"

	"os"

	"usertcp/internal/tcp"
)

// shape sets the options that say how data is cut into packets, as the settings in
// dir have it.
func shape(o *tcp.ConnOptions, dir string) {
	get := func(name string) (int, bool) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return 0, false
		}
		v, err := strconv.Atoi(strings.TrimSpace(string(b)))
		return min(max(v, 0), 255), err == nil
	}
	if v, ok := get("tcp_min_tso_segs"); ok {
		o.LeastTrain = uint8(v)
	}
	if v, ok := get("tcp_tso_win_divisor"); ok {
		o.TrainParts = uint8(v)
	}
	if v, ok := get("tcp_slow_start_after_idle"); ok && v == 0 {
		o.KeepWindow = 1
	}
}
