package nic_test

import (
	"testing"
	"time"

	"usertcp/internal/testnet"
)

// What is changed about the host while connections live: other addresses come and go,
// then their own goes and comes again, and with it the route, and at last the route
// is one by itself. Each time the octets go on and are whole.
func TestAddressesAndRoutesChangeWhileConnectionsLive(t *testing.T) {
	a, b := pair(t, 1500)
	n := meetAt(t, a, b, testnet.PairB4)
	const moment = 50 * time.Millisecond
	for _, row := range []struct {
		name   string
		change func()
	}{
		{"another address comes and goes", func() {
			a.AddAddr("va", "10.9.0.77/32")
			b.AddAddr("vb", "10.9.0.78/32")
			time.Sleep(moment)
			a.RemoveAddr("va", "10.9.0.77/32")
			b.RemoveAddr("vb", "10.9.0.78/32")
		}},
		{"its own goes and comes again", func() {
			a.RemoveAddr("va", testnet.PairA4+"/24")
			time.Sleep(moment)
			a.AddAddr("va", testnet.PairA4+"/24")
		}},
		{"the peer's goes and comes again", func() {
			b.RemoveAddr("vb", testnet.PairB4+"/24")
			time.Sleep(moment)
			b.AddAddr("vb", testnet.PairB4+"/24")
		}},
		{"a route of its own", func() {
			a.SetRoute(testnet.Route{To: testnet.PairB4 + "/32", Dev: "va"})
			b.SetRoute(testnet.Route{To: testnet.PairA4 + "/32", Dev: "vb"})
			time.Sleep(moment)
			a.RemoveRoute(testnet.PairB4 + "/32")
			b.RemoveRoute(testnet.PairA4 + "/32")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			n.eachMeeting(t, func(t *testing.T, c, s stream) {
				setDeadline(t, c, patience)
				setDeadline(t, s, patience)
				transfer(t, c, s, 1<<20, row.change)
			})
		})
	}
}
