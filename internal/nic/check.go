package nic

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel that has all that the programs need: TCX links came with 6.6.
const minMajor, minMinor = 6, 6

// Check reports, in words for who starts the server, what is missing for serving
// network devices: privileges, kernel, devices. It changes nothing.
func Check() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("kernel version: %w", err)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("own privileges: %w", err)
	}
	return errors.Join(
		checkKernel(unix.ByteSliceToString(uts.Release[:])),
		checkCapabilities(string(status)),
		checkFile("/sys/kernel/btf/vmlinux", os.O_RDONLY, "a kernel with CONFIG_DEBUG_INFO_BTF, whose types the eBPF programs look up"),
		checkFile("/dev/net/tun", os.O_RDWR, "the TUN/TAP driver (CONFIG_TUN, modprobe tun), and the right to open its device"),
	)
}

func checkKernel(release string) error {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) >= 2 {
		major, err1 := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if err1 == nil && err2 == nil && (major > minMajor || major == minMajor && minor >= minMinor) {
			return nil
		}
	}
	return fmt.Errorf("serving network devices needs Linux %d.%d or later, this is %s", minMajor, minMinor, release)
}

// needed are the capabilities, and what for.
var needed = []struct {
	bit        int
	name, what string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "TAP devices and programs on devices"},
	{unix.CAP_BPF, "CAP_BPF", "loading eBPF programs"},
	{unix.CAP_PERFMON, "CAP_PERFMON", "eBPF programs that read the kernel's packet structure"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "mounting a bpffs, and staying in one network namespace"},
}

// checkCapabilities looks at the effective capabilities in /proc/self/status.
func checkCapabilities(status string) error {
	_, rest, _ := strings.Cut(status, "\nCapEff:\t")
	hex, _, _ := strings.Cut(rest, "\n")
	has, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return fmt.Errorf("effective capabilities %q: %w", hex, err)
	}
	var missing []string
	for _, c := range needed {
		if has&(1<<c.bit) == 0 {
			missing = append(missing, c.name+" ("+c.what+")")
		}
	}
	if missing == nil {
		return nil
	}
	return fmt.Errorf("serving network devices needs root, or these capabilities too: %s: %w", strings.Join(missing, ", "), unix.EPERM)
}

func checkFile(path string, how int, what string) error {
	f, err := os.OpenFile(path, how, 0)
	if err != nil {
		return fmt.Errorf("serving network devices needs %s: %w", what, err)
	}
	return f.Close()
}
