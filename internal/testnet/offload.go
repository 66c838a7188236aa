package testnet

import (
	"errors"

	"golang.org/x/sys/unix"
)

// SetOffloads switches features of a device on or off, those of netns.Offloads if
// none are named.
func (n *Namespace) SetOffloads(device string, on bool, names ...string) {
	n.t.Helper()
	err := n.in.SetOffloads(device, on, names...)
	if errors.Is(err, unix.ENOENT) {
		n.t.Skip(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}
