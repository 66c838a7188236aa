// What the programs and the server share: the maps and what lies in them. Addresses
// are IPv6 addresses, IPv4 ones in their mapped form; ports are in network order.
#ifndef TYPES_H
#define TYPES_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct address {
	__u32 word[4];
};

// A connection, seen from this host.
struct flow {
	struct address local, remote;
	__be16 local_port, remote_port;
};

// A listener. The unspecified address of a family stands for all addresses of
// this family. Where several shards listen together shard 0 says how many they are,
// as soon as all are there, and they are the shards from 1 on.
struct listener {
	struct address local;
	__be16 port;
	__u16 shard;
};

enum { MAX_SHARDS = 16 };

// What a flow or a listener belongs to. Of a flow the template notes what it has
// found out about the way out, so that it need not ask for each frame.
struct owner {
	__u32 tap;    // the pool's device
	__u16 inside; // of a flow: the peer is this host, so that it comes by lo
	__u16 shards; // of a listener: how many there are; then this is no pool's
	__u32 device, mtu;
	__u64 until; // when that is too old, ns of the coarse monotonic clock
	__u64 ports; // of a lease: bit n is set if it has the block's port n
};

// A rule of the allow or the deny list; see Rule in Go.
struct rule {
	struct address prefix, mask;
	__u16 first, last; // host order
};

enum { MAX_RULES = 256 };

struct settings {
	__u32 deny, allow; // numbers of rules: the first ones deny
	__u32 inside;      // lo is served: local destinations may be reached
};

// Counters as in PoolCounters and Counters in Go.
struct pool_counters {
	__u64 in, in_octets, errors;
	__u64 out, out_octets;
	__u64 malformed, foreign, denied, too_big, no_route, unserved;
};

struct device_counters {
	__u64 passed, delivered, errors, fragments, tagged, strange, orphaned, denied;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct flow);
	__type(value, struct owner);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct listener);
	__type(value, struct owner);
} listeners SEC(".maps");

// Blocks of ports that are leased, by number: from them a pool opens connections
// without asking. No TAP has the number 0: then the block is nobody's. Ports that the
// lease has not are as if there were none: the kernel's, or a listener's, or a flow's.
enum { LEASE_SHIFT = 6, LEASE_MASK = (1 << LEASE_SHIFT) - 1, LEASE_BLOCKS = 65536 >> LEASE_SHIFT };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LEASE_BLOCKS);
	__type(key, __u32);
	__type(value, struct owner);
} leases SEC(".maps");

// The way out of a connection from a leased port or of a listener's, found out before:
// any that has the same place takes its place. While it is written until is 0.
struct way {
	struct address src, dst;
	__be16 sport, dport;
	__u32 device, mtu;
	__u64 until;
};

enum { WAYS = 4096 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct way);
} ways SEC(".maps");

// Beside a way, or the way that a flow's owner notes, in the place of the same number: the
// Ethernet header that the kernel would give what goes by it, valid as long as the way is that
// was noted with it (until says the same).
struct hop {
	struct address src, dst;
	__be16 sport, dport;
	__u32 device;
	__u64 until;
	__u32 ether[3]; // destination, source
	__u32 none;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct hop);
} hops SEC(".maps");

// The host's addresses, those of devices that are not served among them.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, __u32);
} addresses SEC(".maps");

// The devices that are served, by number.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u32);
} devices SEC(".maps");

// The pools, by number of their TAP: their counters, and the VCI for a server that
// takes them over.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct pool_counters);
} pools SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} circuits SEC(".maps");

// The device by which full segments of a stream go that came in one by one, so that they
// are joined on their way to the pool; 0: there is none, and the server is asked for it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} joiner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} asks SEC(".maps");

// What is known of a connection by which full segments have come lately: any that has the
// same place takes its place. Who writes at the same time does no harm: it is a guess.
struct burst {
	__u32 ends;  // of the connection, mixed
	__u16 count; // full segments since begun
	__u16 alone; // that were joined with no other, one behind the other
	__u64 begun; // ns of the coarse monotonic clock; that is to come: no burst until then
	__u64 until; // so long segments go by the joiner
};

enum { BURSTS = 4096 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BURSTS);
	__type(key, __u32);
	__type(value, struct burst);
} bursts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_RULES);
	__type(key, __u32);
	__type(value, struct rule);
} rules SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} setting SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct device_counters);
} counters SEC(".maps");

#endif
