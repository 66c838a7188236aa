// The two programs of the nic driver. demux runs where the served devices receive,
// and hands what belongs to a pool to its TAP. template runs where the TAPs
// "receive", which is what the pool's processes have written, and lets out only what
// they may send. Neither changes a packet, but for the Ethernet header.
#include "packet.h"

// What a program answers. NEXT is as if it had not been there.
enum { NEXT = -1, PASS = 0, DROP = 2 };

// What has come since the headers that a build machine may have.
enum { FIB_SKIP_NEIGH = 1 << 2, PARTIAL = 3, NODEV = 19, FOR_US = 0 };

// The fields of the kernel's own struct that we look at; where they lie is found
// out when the program is loaded.
struct sk_buff {
	__u16 csum_start, csum_offset, mac_header;
	__u8 ip_summed : 2;
	__u8 encapsulation : 1;
} __attribute__((preserve_access_index));

extern void *bpf_cast_to_kern_ctx(void *) __ksym;

#include <bpf/bpf_core_read.h>

static __always_inline _Bool is_ip(const struct __sk_buff *skb)
{
	return skb->protocol == bpf_htons(IPV4) || skb->protocol == bpf_htons(IPV6);
}

// there says that a TAP exists: if its processes have ended and no server is there to
// tidy up, the kernel shall have its ports back.
static __always_inline _Bool there(struct __sk_buff *skb, __u32 tap)
{
	__u32 mtu = 0;

	return bpf_check_mtu(skb, tap, &mtu, 0, 0) != -NODEV;
}

static __always_inline int deliver(struct __sk_buff *skb, __u32 tap, struct device_counters *c)
{
	struct pool_counters *pool = bpf_map_lookup_elem(&pools, &tap);

	if (!pool || !there(skb, tap)) {
		c->orphaned++;
		return NEXT;
	}
	pool->in++;
	pool->in_octets += skb->len;
	return bpf_redirect(tap, 0);
}

enum {
	FULL = 1000,                   // octets of a frame from which it is taken for a full segment
	BURST = 16,                    // full segments of a connection
	BURST_NS = 4 * 1000 * 1000,    // in that time begin a burst
	JOIN_NS = 20 * 1000 * 1000,    // which ends when none has come for so long
	ALONE = 8,                     // or when so many in a row have found no other to be joined with;
	PAUSE_NS = 1000 * 1000 * 1000, // then there is no other for a while,
	ASK_NS = 50 * 1000 * 1000,     // or for a shorter one if there is no joiner yet
};

static __always_inline __u32 ends_of(const struct packet *p)
{
	return p->src.word[3] ^ ((__u32)p->sport << 16 | p->dport);
}

static __always_inline struct burst *burst_of(const struct packet *p)
{
	__u32 at = (bpf_ntohs(p->sport) ^ bpf_ntohs(p->dport)) % BURSTS;

	return bpf_map_lookup_elem(&bursts, &at);
}

// no_burst ends a burst, and sees to it that none begins before the given time.
static __always_inline void no_burst(struct burst *b, __u64 until)
{
	b->count = b->alone = 0;
	b->until = 0;
	b->begun = until;
}

// counts counts a full segment that belongs to no burst.
static __always_inline void counts(struct burst *b, __u64 now)
{
	if (now < b->begun)
		return;
	if (now - b->begun > BURST_NS) {
		b->begun = now;
		b->count = 0;
	}
	if (++b->count >= BURST)
		b->until = now + JOIN_NS;
}

// in_burst says that a segment is one of a stream whose full segments come one by one, as
// from a device that does not join them. As long as it lasts all of a connection go one
// way, so that none overtakes another. What has been joined already says that there is
// no need.
static __always_inline _Bool in_burst(const struct __sk_buff *skb, const struct packet *p, struct burst *b)
{
	_Bool full = skb->len >= FULL;
	__u64 now;

	if (skb->gso_size) {
		if (b->ends == ends_of(p))
			no_burst(b, 0);
		return 0;
	}
	if (b->ends != ends_of(p)) {
		if (!full)
			return 0;
		b->ends = ends_of(p);
		no_burst(b, 0);
	}
	if (!full && !b->until)
		return 0;
	now = bpf_ktime_get_coarse_ns();
	if (now >= b->until) {
		b->until = 0;
		if (full)
			counts(b, now);
		return 0;
	}
	if (full)
		b->until = now + JOIN_NS;
	return 1;
}

// deliver_segment is deliver for a segment of a connection.
static __always_inline int deliver_segment(struct __sk_buff *skb, const struct packet *p, __u32 tap, struct device_counters *c)
{
	int verdict = deliver(skb, tap, c);
	struct burst *b = burst_of(p);
	__u32 zero = 0, *device;

	if (verdict == NEXT || !b || !in_burst(skb, p, b))
		return verdict;
	device = bpf_map_lookup_elem(&joiner, &zero);
	if (!device)
		return verdict;
	if (!*device) {
		no_burst(b, bpf_ktime_get_coarse_ns() + ASK_NS);
		bpf_ringbuf_output(&asks, &zero, sizeof(zero), 0);
		return verdict;
	}
	skb->mark = tap;
	return bpf_redirect(*device, 0);
}

// Behind the joiner: hands what has been joined to its pool. Nobody but the demultiplexer
// sends there.
SEC("tcx/ingress") int usertcp_joined(struct __sk_buff *skb)
{
	__u32 tap = skb->mark;
	struct packet p = {};
	struct burst *b;

	if (!bpf_map_lookup_elem(&pools, &tap))
		return DROP;
	if (!is_ip(skb) || parse(skb, ETHERNET, skb->protocol == bpf_htons(IPV6), &p) != TCP)
		return DROP;
	b = burst_of(&p);
	if (b && skb->gso_size)
		b->alone = 0;
	else if (b && skb->len >= FULL && ++b->alone >= ALONE)
		no_burst(b, bpf_ktime_get_coarse_ns() + PAUSE_NS);
	return bpf_redirect(tap, 0);
}

// An ICMP error that quotes a segment of ours: the pool gets a copy, and the kernel
// the message. at is where the ICMP header is.
static __always_inline void deliver_error(struct __sk_buff *skb, __u32 at, _Bool v6, struct device_counters *c)
{
	struct packet quoted = {};
	struct pool_counters *pool;
	struct owner *owner;
	__u8 type;
	__u32 tap;

	if (bpf_skb_load_bytes(skb, at, &type, 1))
		return;
	// RFC 4443 section 2.1: the types below 128 are errors. RFC 792: unreachable,
	// time exceeded, parameter problem.
	if (v6 ? type == 0 || type > 4 : type != 3 && type != 11 && type != 12)
		return;
	if (parse(skb, at + 8, v6, &quoted) != TCP)
		return;
	owner = flow_owner(&quoted.src, quoted.sport, &quoted.dst, quoted.dport);
	if (!owner && is_local(&quoted.src, v6)) {
		owner = lease_owner(quoted.sport);
		if (!owner)
			owner = listener_owner(&quoted.src, quoted.sport, &quoted.dst, quoted.dport, v6);
	}
	if (!owner)
		return;
	tap = owner->tap;
	pool = bpf_map_lookup_elem(&pools, &tap);
	if (!pool || !there(skb, tap))
		return;
	pool->in++;
	pool->errors++;
	pool->in_octets += skb->len;
	c->errors++;
	bpf_clone_redirect(skb, tap, 0);
}

// possible says that a packet with these addresses can have come by this device. The
// kernel drops what has not, and so it gets it.
static __always_inline _Bool possible(const struct __sk_buff *skb, const struct packet *p)
{
	if (skb->ifindex == LOOPBACK)
		return 1;
	return !is_loopback(&p->src, p->v6) && !is_loopback(&p->dst, p->v6);
}

// The Ethernet source address of a SYN for a listener, as the pool gets it: what the
// way back carries. The address itself means nothing there.
struct back {
	__u8 dst[6];
	__u8 mark[4];
	__be16 mtu; // octets; 0: it is not known
};

// between says between which ends a way is looked for.
static __always_inline void between(struct bpf_fib_lookup *fib, const struct address *src, const struct address *dst, _Bool v6)
{
	if (v6) {
		fib->family = 10; // AF_INET6
		__builtin_memcpy(fib->ipv6_src, src, 16);
		__builtin_memcpy(fib->ipv6_dst, dst, 16);
	} else {
		fib->family = 2; // AF_INET
		fib->ipv4_src = src->word[3];
		fib->ipv4_dst = dst->word[3];
	}
}

// say_way_back puts into a SYN's Ethernet header the MTU of the route to its sender, as
// the kernel would have it for a packet that it forwards there: the route's own counts if
// it is locked, else the device's.
static __always_inline void say_way_back(struct __sk_buff *skb, const struct packet *p, __u32 tap)
{
	struct bpf_fib_lookup fib = {.ifindex = tap, .l4_protocol = PROTO_TCP, .sport = p->dport, .dport = p->sport};
	struct back back = {.mark = {2, 'w', 'a', 'y'}};
	struct tcp_header tcp;

	if (bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)) || (tcp.flags & (TCP_SYN | TCP_ACK)) != TCP_SYN)
		return;
	fib.tot_len = 1; // any: so that we are told the MTU
	between(&fib, &p->dst, &p->src, p->v6);
	if (bpf_fib_lookup(skb, &fib, sizeof(fib), FIB_SKIP_NEIGH) == BPF_FIB_LKUP_RET_SUCCESS)
		back.mtu = bpf_htons(fib.mtu_result);
	bpf_skb_store_bytes(skb, sizeof(back.dst), back.mark, sizeof(back) - sizeof(back.dst), 0);
}

// kernel_has says that the kernel does not forward what goes to the segment's destination:
// that it has the address itself, or no way to it. Only TAPs may ask that.
static __always_inline _Bool kernel_has(struct __sk_buff *skb, const struct packet *p, __u32 tap)
{
	struct bpf_fib_lookup fib = {.ifindex = tap, .l4_protocol = PROTO_TCP, .sport = p->sport, .dport = p->dport};

	between(&fib, &p->src, &p->dst, p->v6);
	return bpf_fib_lookup(skb, &fib, sizeof(fib), FIB_SKIP_NEIGH) == BPF_FIB_LKUP_RET_NOT_FWDED;
}

// A segment for a leased port or a listener, or for nobody. An address that comes back
// is the kernel's at once, and known here a moment later: in between its TCP, which has
// no such connection, would reset it. The peer sends again what is dropped.
static __always_inline int to_port(struct __sk_buff *skb, struct packet *p, struct device_counters *c)
{
	struct owner *leased = lease_owner(p->dport);
	struct owner *owner = leased ? leased : listener_owner(&p->dst, p->dport, &p->src, p->sport, p->v6);
	struct settings *s;
	__u32 zero = 0;

	if (!owner)
		return NEXT;
	if (!is_local(&p->dst, p->v6)) {
		if (!kernel_has(skb, p, owner->tap))
			return NEXT;
		c->strange++;
		return DROP;
	}
	if (!is_host(&p->src, p->v6) || (skb->ifindex != LOOPBACK && is_local(&p->src, p->v6))) {
		c->strange++;
		return NEXT;
	}
	if (leased && bpf_skb_load_bytes(skb, p->l4 + 13, &p->flags, 1))
		return NEXT;
	s = bpf_map_lookup_elem(&setting, &zero);
	if (!s || !(leased ? opens_permitted(s, p->flags, &p->src, p->sport) : permitted(s, &p->src, p->dport))) {
		c->denied++;
		return DROP;
	}
	if (!leased)
		say_way_back(skb, p, owner->tap);
	return deliver_segment(skb, p, owner->tap, c);
}

static __always_inline int segment(struct __sk_buff *skb, struct packet *p, struct device_counters *c)
{
	struct owner *owner = flow_owner(&p->dst, p->dport, &p->src, p->sport);

	if (!possible(skb, p) || (owner && owner->inside && skb->ifindex != LOOPBACK)) {
		c->strange++;
		return NEXT;
	}
	return owner ? deliver_segment(skb, p, owner->tap, c) : to_port(skb, p, c);
}

SEC("tcx/ingress") int usertcp_demux(struct __sk_buff *skb)
{
	struct device_counters *c;
	struct packet p = {};
	int verdict = NEXT;
	__u32 zero = 0;
	_Bool v6;

	c = bpf_map_lookup_elem(&counters, &zero);
	if (!c)
		return NEXT;
	if (skb->vlan_present) {
		c->tagged++;
	} else if (is_ip(skb) && skb->pkt_type == FOR_US) {
		v6 = skb->protocol == bpf_htons(IPV6);
		switch (parse(skb, ETHERNET, v6, &p)) {
		case TCP:
			verdict = segment(skb, &p, c);
			break;
		case ICMP:
			deliver_error(skb, p.l4, v6, c);
			break;
		case FRAGMENT:
			c->fragments++;
			break;
		case STRANGE:
			c->strange++;
			break;
		case OTHER:
			break;
		}
	}
	if (verdict == NEXT)
		c->passed++;
	else if (verdict != DROP)
		c->delivered++;
	return verdict;
}

// The kernel's own errors of a neighbour that is not there come by lo, which need not be
// served for that: of all that arrives there this looks at nothing else.
SEC("tcx/ingress") int hear_errors(struct __sk_buff *skb)
{
	struct device_counters *c;
	struct packet p = {};
	__u32 zero = 0;
	_Bool v6;

	c = bpf_map_lookup_elem(&counters, &zero);
	if (!c || !is_ip(skb) || skb->pkt_type != FOR_US)
		return NEXT;
	v6 = skb->protocol == bpf_htons(IPV6);
	if (parse(skb, ETHERNET, v6, &p) == ICMP)
		deliver_error(skb, p.l4, v6, c);
	return NEXT;
}

// offloads_honest says that what the frame's virtio header asks the kernel to do
// later will not change anything but the TCP checksum: a checksum to be written
// elsewhere could make another source port of ours.
static __always_inline _Bool offloads_honest(struct __sk_buff *skb, const struct packet *p)
{
	struct sk_buff *k = bpf_cast_to_kern_ctx(skb);

	if (BPF_CORE_READ_BITFIELD(k, encapsulation))
		return 0;
	if (BPF_CORE_READ_BITFIELD(k, ip_summed) != PARTIAL)
		return 1;
	return k->csum_offset == 16 && k->csum_start == (__u32)k->mac_header + p->l4;
}

// written says that the frame is one that a driver writes: one TCP segment in an IP
// packet without options that fills the frame. header is the length of its headers.
static __always_inline _Bool written(struct __sk_buff *skb, struct packet *p, __u32 *header)
{
	struct tcp_header tcp;

	if (skb->vlan_present || !is_ip(skb))
		return 0;
	if (parse(skb, ETHERNET, skb->protocol == bpf_htons(IPV6), p) != TCP || !p->plain)
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4, &tcp, sizeof(tcp)))
		return 0;
	p->flags = tcp.flags;
	*header = p->l4 - ETHERNET + tcp_length(&tcp);
	return tcp_length(&tcp) >= sizeof(tcp) && p->total == skb->len - ETHERNET && *header <= p->total && offloads_honest(skb, p);
}

// What lets a segment out.
enum grant { FLOW, LEASE, LISTENER };

// owned returns what says that the segment's source, and its peer, belong to the TAP: a
// flow; failing that a lease of its port, or a listener.
static __always_inline struct owner *owned(struct __sk_buff *skb, const struct packet *p, enum grant *by)
{
	struct owner *owner = flow_owner(&p->src, p->sport, &p->dst, p->dport);

	*by = FLOW;
	if (!owner) {
		*by = LEASE;
		owner = lease_owner(p->sport);
	}
	if (!owner) {
		*by = LISTENER;
		owner = listener_owner(&p->src, p->sport, &p->dst, p->dport, p->v6);
	}
	return owner && owner->tap == skb->ifindex ? owner : 0;
}

// to_pool delivers a segment to a pool of this host. It returns NEXT if there is none.
static __always_inline int to_pool(struct __sk_buff *skb, const struct packet *p, const struct settings *s, struct pool_counters *pool, struct device_counters *c)
{
	struct owner *owner = flow_owner(&p->dst, p->dport, &p->src, p->sport);
	_Bool allowed = 1;

	if (!owner) {
		owner = lease_owner(p->dport);
		if (owner) {
			allowed = opens_permitted(s, p->flags, &p->src, p->sport);
		} else {
			owner = listener_owner(&p->dst, p->dport, &p->src, p->sport, p->v6);
			allowed = !owner || permitted(s, &p->src, p->dport);
		}
	}
	if (!allowed) {
		pool->denied++;
		return DROP;
	}
	return owner ? deliver(skb, owner->tap, c) : NEXT;
}

// The destination is this host: another pool, or the kernel. The kernel takes IPv4 as
// received by the TAP, whose settings let it; and IPv6 as received by lo.
static __always_inline int send_inside(struct __sk_buff *skb, const struct packet *p, const struct settings *s, struct pool_counters *pool, struct device_counters *c)
{
	__u8 none[12] = {};
	int verdict = to_pool(skb, p, s, pool, c);

	if (verdict != NEXT)
		return verdict;
	if (!s->inside) {
		pool->unserved++;
		return DROP;
	}
	if (!p->v6) {
		bpf_skb_change_type(skb, FOR_US);
		return PASS;
	}
	bpf_skb_store_bytes(skb, 0, none, sizeof(none), 0); // lo's own address
	return bpf_redirect(LOOPBACK, BPF_F_INGRESS);
}

// The time for which the way of a flow is not asked for again. Nothing but this has to
// know when a route or an address has changed.
enum { KNOWN_NS = 10 * 1000 * 1000 };

// found is a way, and if headed says so what the frames that go by it begin with.
struct found {
	__u32 device, mtu;
	_Bool headed;
	__u32 ether[3];
};

// ask asks the kernel's routes for a segment's way, and unless flags say otherwise for the
// neighbour.
static __always_inline long ask(struct __sk_buff *skb, const struct packet *p, struct bpf_fib_lookup *fib, __u32 flags)
{
	*fib = (struct bpf_fib_lookup){.ifindex = skb->ifindex, .l4_protocol = PROTO_TCP, .sport = p->sport, .dport = p->dport};
	fib->tot_len = 1; // any: so that we are told the MTU
	between(fib, &p->src, &p->dst, p->v6);
	if (p->v6)
		fib->flowinfo = bpf_htonl((__u32)p->tos << 20);
	else
		fib->tos = p->tos;
	return bpf_fib_lookup(skb, fib, sizeof(*fib), flags);
}

// find_way finds a segment's way. It returns 0, or the counter of what is wrong.
static __always_inline __u64 *find_way(struct __sk_buff *skb, const struct packet *p, struct pool_counters *pool, struct found *way)
{
	struct bpf_fib_lookup fib;
	__u32 device;
	long answer = ask(skb, p, &fib, 0);

	if (answer == BPF_FIB_LKUP_RET_SUCCESS && !fib.h_vlan_proto) {
		__builtin_memcpy(way->ether, fib.dmac, 6);
		__builtin_memcpy((__u8 *)way->ether + 6, fib.smac, 6);
		way->headed = 1;
	} else if (answer == BPF_FIB_LKUP_RET_NO_NEIGH) {
		answer = ask(skb, p, &fib, FIB_SKIP_NEIGH);
	}
	if (answer != BPF_FIB_LKUP_RET_SUCCESS)
		return &pool->no_route;
	device = fib.ifindex;
	if (!bpf_map_lookup_elem(&devices, &device))
		return &pool->unserved;
	way->device = device;
	way->mtu = fib.mtu_result;
	return 0;
}

// say_too_big gives a frame back to its pool, cut down to its headers: its Ethernet header
// says what MTU the way has now. The driver makes of it what a router would say.
static __always_inline int say_too_big(struct __sk_buff *skb, __u32 header, __u32 mtu)
{
	struct back back = {.mark = {2, 'b', 'i', 'g'}, .mtu = bpf_htons(mtu)};

	if (bpf_skb_change_tail(skb, ETHERNET + header, 0))
		return DROP;
	if (bpf_skb_store_bytes(skb, sizeof(back.dst), back.mark, sizeof(back) - sizeof(back.dst), 0))
		return DROP;
	return bpf_redirect(skb->ifindex, 0);
}

// fits says that a segment is not too big for its way; else its pool is told.
static __always_inline _Bool fits(const struct __sk_buff *skb, const struct packet *p, __u32 header, __u32 mtu)
{
	return (skb->gso_size ? header + skb->gso_size : p->total) <= mtu;
}

// send_by sends a segment on its way; the neighbours are the kernel's. header is the
// length of the segment's headers.
static __always_inline int send_by(struct __sk_buff *skb, const struct packet *p, __u32 header, const struct found *way, struct pool_counters *pool)
{
	if (!fits(skb, p, header, way->mtu)) {
		pool->too_big++;
		return say_too_big(skb, header, way->mtu);
	}
	// The kernel reports a neighbour that is not there to the source of packets
	// that were for this host, as its own are.
	bpf_skb_change_type(skb, FOR_US);
	return bpf_redirect_neigh(way->device, 0, 0, 0);
}

// send_known does so by a way that was found before. If it is known what the neighbour's
// frames begin with the kernel need not look for route and neighbour again; it hears of the
// neighbour's use by those for which the way is found anew.
static __always_inline int send_known(struct __sk_buff *skb, const struct packet *p, __u32 header, const struct found *way, struct pool_counters *pool)
{
	if (!way->headed || !fits(skb, p, header, way->mtu))
		return send_by(skb, p, header, way, pool);
	if (bpf_skb_store_bytes(skb, 0, way->ether, sizeof(way->ether), 0))
		return DROP;
	return bpf_redirect(way->device, 0);
}

// same says that a way was found for a connection with the segment's ends.
static __always_inline _Bool same(const struct way *way, const struct packet *p)
{
	for (int w = 0; w < 4; w++)
		if (way->src.word[w] != p->src.word[w] || way->dst.word[w] != p->dst.word[w])
			return 0;
	return way->sport == p->sport && way->dport == p->dport;
}

static __always_inline struct way *way_of(const struct packet *p)
{
	__u32 at = (bpf_ntohs(p->sport) ^ bpf_ntohs(p->dport)) % WAYS; // of those of a listener only the peers' ports differ

	return bpf_map_lookup_elem(&ways, &at);
}

static __always_inline struct hop *hop_of(const struct packet *p)
{
	__u32 at = (bpf_ntohs(p->sport) ^ bpf_ntohs(p->dport)) % WAYS;

	return bpf_map_lookup_elem(&hops, &at);
}

// head finds what the frames of a way that is good until then begin with.
static __always_inline void head(const struct packet *p, __u64 until, struct found *found)
{
	const volatile struct hop *hop = hop_of(p);

	if (!hop || hop->until != until || hop->device != found->device || hop->sport != p->sport || hop->dport != p->dport)
		return;
	for (int w = 0; w < 4; w++)
		if (hop->src.word[w] != p->src.word[w] || hop->dst.word[w] != p->dst.word[w])
			return;
	for (int i = 0; i < 3; i++)
		found->ether[i] = hop->ether[i];
	found->headed = hop->until == until; // nobody has written meanwhile
}

// note_head remembers it.
static __always_inline void note_head(const struct packet *p, __u64 until, const struct found *found)
{
	volatile struct hop *hop = hop_of(p);

	if (!hop || !found->headed)
		return;
	hop->until = 0;
	for (int w = 0; w < 4; w++) {
		hop->src.word[w] = p->src.word[w];
		hop->dst.word[w] = p->dst.word[w];
	}
	hop->sport = p->sport;
	hop->dport = p->dport;
	hop->device = found->device;
	for (int i = 0; i < 3; i++)
		hop->ether[i] = found->ether[i];
	hop->until = until;
}

// known finds the way that was found before, if that is not too long ago.
static __always_inline _Bool known(const struct packet *p, enum grant by, const struct owner *owner, struct found *found)
{
	const volatile struct way *way;
	__u64 until;

	if (by == FLOW) {
		until = owner->until;
		found->device = owner->device;
		found->mtu = owner->mtu;
		if (bpf_ktime_get_coarse_ns() >= until)
			return 0;
		head(p, until, found);
		return 1;
	}
	if (p->flags & FLAG_SYN)
		return 0; // a SYN is asked about
	way = way_of(p);
	if (!way)
		return 0;
	until = way->until;
	if (bpf_ktime_get_coarse_ns() >= until || !same((const struct way *)way, p))
		return 0;
	found->device = way->device;
	found->mtu = way->mtu;
	head(p, until, found);
	return way->until == until; // nobody has written meanwhile
}

// note remembers a way that was found.
static __always_inline void note(const struct packet *p, enum grant by, struct owner *owner, const struct found *found)
{
	volatile struct way *way;
	__u64 until = bpf_ktime_get_coarse_ns() + KNOWN_NS;

	note_head(p, until, found);
	if (by == FLOW) {
		owner->device = found->device;
		owner->mtu = found->mtu;
		owner->until = until;
		return;
	}
	way = way_of(p);
	if (!way)
		return;
	way->until = 0;
	for (int w = 0; w < 4; w++) {
		way->src.word[w] = p->src.word[w];
		way->dst.word[w] = p->dst.word[w];
	}
	way->sport = p->sport;
	way->dport = p->dport;
	way->device = found->device;
	way->mtu = found->mtu;
	way->until = until;
}

// may says what the lists say of a segment, which is no flow's.
static __always_inline _Bool may(const struct settings *s, const struct packet *p, enum grant by)
{
	if (by == LEASE)
		return opens_permitted(s, p->flags, &p->dst, p->dport);
	return by == FLOW || permitted(s, &p->dst, p->sport);
}

// send_owned sends what belongs to the pool, by a way that is yet to be found.
static __always_inline int send_owned(struct __sk_buff *skb, const struct packet *p, __u32 header, struct owner *owner, enum grant by, struct pool_counters *pool)
{
	struct found found = {};
	struct device_counters *c;
	struct settings *s;
	__u64 *wrong;
	__u32 zero = 0;
	_Bool inside;

	c = bpf_map_lookup_elem(&counters, &zero);
	s = bpf_map_lookup_elem(&setting, &zero);
	if (!c || !s)
		return DROP;
	inside = is_local(&p->dst, p->v6);
	if (!is_local(&p->src, p->v6) || (!inside && is_loopback(&p->src, p->v6))) {
		pool->foreign++;
		return DROP;
	}
	if (!may(s, p, by)) {
		pool->denied++;
		return DROP;
	}
	if (inside)
		return send_inside(skb, p, s, pool, c);
	wrong = find_way(skb, p, pool, &found);
	if (wrong) {
		++*wrong;
		return DROP;
	}
	note(p, by, owner, &found);
	return send_by(skb, p, header, &found, pool);
}

SEC("tcx/ingress") int usertcp_template(struct __sk_buff *skb)
{
	struct packet p = {};
	struct found found = {};
	struct pool_counters *pool;
	__u32 tap = skb->ifindex, header = 0, len = skb->len;
	struct owner *owner;
	enum grant by;
	int verdict;

	pool = bpf_map_lookup_elem(&pools, &tap);
	if (!pool)
		return DROP;
	if (!written(skb, &p, &header)) {
		pool->malformed++;
		return DROP;
	}
	owner = owned(skb, &p, &by);
	if (!owner) {
		pool->foreign++;
		return DROP;
	}
	if (known(&p, by, owner, &found))
		verdict = send_known(skb, &p, header, &found, pool);
	else
		verdict = send_owned(skb, &p, header, owner, by, pool);
	if (verdict != DROP) {
		pool->out++;
		pool->out_octets += len;
	}
	return verdict;
}

char _license[] SEC("license") = "GPL";
