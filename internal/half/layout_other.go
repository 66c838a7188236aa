//go:build usertcp_otherlayout

package half

// A build with this tag makes segments that no other build takes for its own: for the
// test of an upgrade.
func init() { Version = ^Version }
