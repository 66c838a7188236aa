// Reading packets, and asking the maps whose they are.
#ifndef PACKET_H
#define PACKET_H

#include <bpf/bpf_endian.h>
#include "types.h"

enum { LOOPBACK = 1 }; // the number of lo, in every namespace

// Wire formats, octet by octet: without bit fields it does not matter whose order a
// build machine's headers are made for.
enum { ETHERNET = 14, IPV4 = 0x0800, IPV6 = 0x86dd };
enum { PROTO_HOP = 0, PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_FRAGMENT = 44, PROTO_ICMP6 = 58, PROTO_DESTINATION = 60 };

struct ipv4_header {
	__u8 version_length, tos;
	__be16 total, id, fragment;
	__u8 ttl, proto;
	__be16 checksum;
	__be32 src, dst;
};

struct ipv6_header {
	__be32 version_class_label;
	__be16 payload;
	__u8 proto, hops;
	struct address src, dst;
};

struct tcp_header {
	__be16 src, dst;
	__be32 seq, ack;
	__u8 length, flags;
	__be16 window, checksum, urgent;
};

enum { TCP_SYN = 2, TCP_ACK = 16 };

static __always_inline __u32 tcp_length(const struct tcp_header *tcp)
{
	return (tcp->length >> 4) * 4;
}

enum { FLAG_SYN = 2, FLAG_ACK = 16 };

enum { MAX_EXTENSIONS = 4 }; // IPv6 extension headers that are passed over

enum kind {
	OTHER,    // not IP, or neither TCP nor ICMP
	STRANGE,  // ends inside a header, or has headers that we do not follow
	FRAGMENT, // of TCP or ICMP
	TCP,
	ICMP,
};

struct packet {
	struct address src, dst;
	__be16 sport, dport;
	__u32 l4;    // octets from the start of the frame to the TCP or ICMP header
	__u32 total; // octets of the IP packet, as its header says
	__u8 v6, plain, tos; // plain: an IP header without options or extensions
	__u8 flags;          // of TCP, where somebody has looked
};

static __always_inline void mapped(struct address *a, __be32 v4)
{
	a->word[0] = a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = v4;
}

static __always_inline enum kind kind_of(__u8 proto, _Bool v6)
{
	if (proto == PROTO_TCP)
		return TCP;
	return proto == (v6 ? PROTO_ICMP6 : PROTO_ICMP) ? ICMP : OTHER;
}

// The packet at off has an IPv4 header.
static __always_inline enum kind parse4(struct __sk_buff *skb, __u32 off, struct packet *p)
{
	struct ipv4_header ip;
	enum kind kind;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version_length < 0x45 || ip.version_length > 0x4f)
		return STRANGE;
	mapped(&p->src, ip.src);
	mapped(&p->dst, ip.dst);
	p->v6 = 0;
	p->plain = ip.version_length == 0x45;
	p->tos = ip.tos;
	p->total = bpf_ntohs(ip.total);
	p->l4 = off + (ip.version_length & 15) * 4;
	kind = kind_of(ip.proto, 0);
	return kind != OTHER && ip.fragment & bpf_htons(0x3fff) ? FRAGMENT : kind;
}

// The packet at off has an IPv6 header.
static __always_inline enum kind parse6(struct __sk_buff *skb, __u32 off, struct packet *p)
{
	struct ipv6_header ip;
	__u8 next, head[2];

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || bpf_ntohl(ip.version_class_label) >> 28 != 6)
		return STRANGE;
	p->src = ip.src;
	p->dst = ip.dst;
	p->v6 = 1;
	p->plain = 1;
	p->tos = bpf_ntohl(ip.version_class_label) >> 20;
	p->total = sizeof(ip) + bpf_ntohs(ip.payload);
	p->l4 = off + sizeof(ip);
	next = ip.proto;
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		if (next == PROTO_FRAGMENT)
			return FRAGMENT;
		if (next != PROTO_HOP && next != PROTO_DESTINATION)
			return kind_of(next, 1);
		p->plain = 0;
		if (bpf_skb_load_bytes(skb, p->l4, head, 2))
			return STRANGE;
		next = head[0];
		p->l4 += (head[1] + 1) * 8;
	}
	return STRANGE;
}

static __always_inline enum kind parse(struct __sk_buff *skb, __u32 off, _Bool v6, struct packet *p)
{
	enum kind kind = v6 ? parse6(skb, off, p) : parse4(skb, off, p);

	if (kind == TCP && bpf_skb_load_bytes(skb, p->l4, &p->sport, 4))
		return STRANGE;
	return kind;
}

static __always_inline _Bool is_loopback(const struct address *a, _Bool v6)
{
	if (!v6)
		return (a->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !a->word[0] && !a->word[1] && !a->word[2] && a->word[3] == bpf_htonl(1);
}

// is_host says that a is an address that one host can have.
static __always_inline _Bool is_host(const struct address *a, _Bool v6)
{
	if (v6)
		return (a->word[0] & bpf_htonl(0xff000000)) != bpf_htonl(0xff000000) &&
		       (a->word[0] || a->word[1] || a->word[2] || a->word[3]);
	return (a->word[3] & bpf_htonl(0xff000000)) && a->word[3] < 0xffffffff &&
	       (a->word[3] & bpf_htonl(0xf0000000)) != bpf_htonl(0xe0000000);
}

// is_local says that a is one of this host's addresses.
static __always_inline _Bool is_local(const struct address *a, _Bool v6)
{
	return bpf_map_lookup_elem(&addresses, a) || is_loopback(a, v6);
}

static __always_inline struct owner *flow_owner(const struct address *local, __be16 local_port, const struct address *remote, __be16 remote_port)
{
	struct flow key = {*local, *remote, local_port, remote_port};

	return bpf_map_lookup_elem(&flows, &key);
}

// spread mixes what tells connections apart; the last steps make each bit depend on all.
static __always_inline __u32 spread(const struct address *local, __be16 port, const struct address *remote, __be16 remote_port)
{
	__u32 h = (__u32)remote_port << 16 | port;

	for (int w = 0; w < 4; w++)
		h = (h ^ local->word[w] ^ (remote->word[w] << 16 | remote->word[w] >> 16)) * 0x9e3779b1;
	h = (h ^ h >> 16) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

// shard_of returns the shard that a connection is for; if that has gone, the next.
static __always_inline struct owner *shard_of(struct listener *key, __u32 shards, __u32 hash)
{
	struct owner *owner;

	for (__u32 i = 0; i < MAX_SHARDS && i < shards; i++) {
		key->shard = 1 + (hash % shards + i) % shards;
		owner = bpf_map_lookup_elem(&listeners, key);
		if (owner)
			return owner;
	}
	return 0;
}

// The listener of a connection's local end; failing that, of all addresses and this
// port, for which the caller must know that the address is this host's.
static __always_inline struct owner *listener_owner(const struct address *local, __be16 port, const struct address *remote, __be16 remote_port, _Bool v6)
{
	struct listener key = {*local, port, 0};
	struct owner *owner = bpf_map_lookup_elem(&listeners, &key);

	if (!owner) {
		key.local = (struct address){};
		if (!v6)
			mapped(&key.local, 0);
		owner = bpf_map_lookup_elem(&listeners, &key);
	}
	if (owner && owner->shards)
		return shard_of(&key, owner->shards, spread(local, port, remote, remote_port));
	return owner;
}

// The pool that has leased a port, with which it opens connections to anybody: the
// caller must know that the address is this host's.
static __always_inline struct owner *lease_owner(__be16 port)
{
	__u32 host = bpf_ntohs(port), block = host >> LEASE_SHIFT;
	struct owner *owner = bpf_map_lookup_elem(&leases, &block);

	return owner && owner->tap && owner->ports >> (host & LEASE_MASK) & 1 ? owner : 0;
}

static __always_inline _Bool rule_matches(__u32 i, const struct address *remote, __u16 port)
{
	struct rule *r = bpf_map_lookup_elem(&rules, &i);

	if (!r)
		return 0;
	for (int w = 0; w < 4; w++)
		if ((remote->word[w] & r->mask.word[w]) != r->prefix.word[w])
			return 0;
	return r->first <= port && port <= r->last;
}

// permitted says what the lists say of a connection with remote to our service at
// port. The kernel verifies it by itself: with all its turns wherever it is called that
// took most of a server's start.
__noinline int permitted(const struct settings *s, const struct address *remote, __be16 port)
{
	__u32 deny, n;

	if (!s || !remote)
		return 0;
	deny = s->deny;
	n = deny + s->allow;
	for (__u32 i = 0; i < MAX_RULES && i < n; i++)
		if (rule_matches(i, remote, bpf_ntohs(port)))
			return i >= deny;
	return n == deny;
}

// opens_permitted says the same of a segment of a connection from a leased port, to a
// service of remote's at port. What is no SYN opens none.
static __always_inline _Bool opens_permitted(const struct settings *s, __u8 flags, const struct address *remote, __be16 port)
{
	return !(flags & FLAG_SYN) || permitted(s, remote, port);
}

#endif
