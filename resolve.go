package usertcp

import (
	"context"
	"net"
	"net/netip"

	"usertcp/internal/wire"
)

// resolve turns a network and an address, as package net takes them, into
// endpoints; an address without a host, if that is allowed, is the unspecified
// one.
func resolve(ctx context.Context, network, address string) ([]wire.Endpoint, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return []wire.Endpoint{{Addr: wire.AddrFrom(unspecified(network)), Port: uint16(port)}}, nil
	}
	addrs, err := lookup(ctx, network, host)
	if err != nil {
		return nil, err
	}
	var ends []wire.Endpoint
	for _, a := range addrs {
		ends = append(ends, wire.Endpoint{Addr: wire.AddrFrom(a.Unmap()), Port: uint16(port)})
	}
	return ends, nil
}

func unspecified(network string) netip.Addr {
	if network == "tcp4" {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified() // all of IPv4, too
}

// listenAt returns where a listener is for an address: as in package net any
// unspecified address means those of both families for "tcp", and those of one family
// for "tcp4" and "tcp6".
func listenAt(network string, e wire.Endpoint) wire.Endpoint {
	if !e.Addr.IsZero() {
		return e
	}
	switch network {
	case "tcp4":
		e.Addr = wire.Any4
	case "tcp6":
		e.Addr = wire.Any6
	default:
		e.Addr = wire.Any
	}
	return e
}

// lookup returns the addresses of a host that fit the network.
func lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	ip := "ip" + network[len("tcp"):]
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, ip, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return addrs, nil
}

func tcpAddr(e wire.Endpoint) *net.TCPAddr { return net.TCPAddrFromAddrPort(e.Netip()) }
