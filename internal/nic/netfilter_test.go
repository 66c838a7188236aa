package nic

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"usertcp/internal/testnet"
)

// netfilter is a netlink socket of the namespace's nf_tables: so that what the host
// filters is compared also where there is no nft.
func netfilter(t *testing.T) (fd int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1
	}
	must(t, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20}))
	return fd
}

// request is a message of nf_tables: kind, flags, family, what is in it.
func request(kind, flags int, family byte, resource uint16, attributes ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(20+len(attributes)))
	b = binary.NativeEndian.AppendUint16(b, uint16(kind))
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLM_F_REQUEST|flags))
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0, family, 0)
	return append(binary.BigEndian.AppendUint16(b, resource), attributes...)
}

// filters lists all tables, chains, rules and sets of a namespace, and the number of the
// last change to any.
func filters(t *testing.T, in *testnet.Namespace) string {
	t.Helper()
	var all strings.Builder
	in.Do(func() {
		fd := netfilter(t)
		if fd < 0 {
			return
		}
		defer unix.Close(fd)
		const tables = unix.NFNL_SUBSYS_NFTABLES << 8
		for _, kind := range []int{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE, unix.NFT_MSG_GETSET} {
			must(t, unix.Sendto(fd, request(tables|kind, unix.NLM_F_DUMP, unix.AF_UNSPEC, 0), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
			for done := false; !done; {
				buf := make([]byte, 1<<16)
				n, _, err := unix.Recvfrom(fd, buf, 0)
				must(t, err)
				for b := buf[:n]; len(b) >= 16; {
					size, what := binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint16(b[4:])
					if what == unix.NLMSG_DONE || what == unix.NLMSG_ERROR {
						done = true
						break
					}
					fmt.Fprintf(&all, "nf_tables %d: %q\n", kind, b[16:size])
					b = b[min(len(b), int(size+3)&^3):]
				}
			}
		}
	})
	return all.String()
}

// addTable makes a table of the host's own.
func addTable(t *testing.T, in *testnet.Namespace, name string) {
	t.Helper()
	in.Do(func() {
		fd := netfilter(t)
		if fd < 0 {
			t.Skip("no nf_tables in this kernel")
		}
		defer unix.Close(fd)
		for len(name)%4 != 3 { // with its last octet, 0, it fills words
			name += "_"
		}
		attribute := binary.NativeEndian.AppendUint16(nil, uint16(4+len(name)+1))
		attribute = binary.NativeEndian.AppendUint16(attribute, unix.NFTA_TABLE_NAME)
		attribute = append(append(attribute, name...), 0)
		batch := request(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)
		batch = append(batch, request(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_ACK, unix.NFPROTO_INET, 0, attribute...)...)
		batch = append(batch, request(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)...)
		must(t, unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
		buf := make([]byte, 1<<12)
		_, _, err := unix.Recvfrom(fd, buf, 0)
		must(t, err)
		if e := int32(binary.NativeEndian.Uint32(buf[16:])); e != 0 {
			t.Skip("no table can be made:", unix.Errno(-e))
		}
	})
}

// The listing shows what a host filters, and each change: what compares it before and
// after compares something.
func TestFiltersAreListed(t *testing.T) {
	t.Parallel()
	in := testnet.New(t)
	none := filters(t, in)
	addTable(t, in, "theirs")
	one := filters(t, in)
	if !strings.Contains(one, "theirs") || one == none {
		t.Errorf("listed %q, before %q", one, none)
	}
	addTable(t, in, "another")
	if two := filters(t, in); two == one || !strings.Contains(two, "theirs") || !strings.Contains(two, "another") {
		t.Errorf("listed %q, before %q", two, one)
	}
}
