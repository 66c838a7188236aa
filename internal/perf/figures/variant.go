package figures

import "usertcp/internal/perf"

// Variant is one curve: a stack in one arrangement.
type Variant struct {
	Name   string   `json:"name"`
	Paper  string   `json:"paper"` // what it stands for there
	Stack  string   `json:"stack"`
	Server []string `json:"server_flags,omitempty"`
	Spin   string   `json:"spin,omitempty"`
	Root   bool     `json:"-"` // needs to be root
	Table  bool     `json:"-"` // stands in the tables only: a picture has room for seven curves
}

// Variants are those of the paper's figures 2 and 3, from the arrangement of 1995 to
// what is the default here.
var Variants = []Variant{
	{Name: "kernel TCP", Paper: "single-copy kernel TCP", Stack: "kernel"},
	in1995("child receives", "neither optimisation"),
	in1995("child receives, buffer cache", "buffer cache", "-buffer-cache"),
	asRoot(in1995("child receives, real-time", "real-time child", "-realtime", "10")),
	asRoot(in1995("child receives, both", "both optimisations", "-buffer-cache", "-realtime", "10")),
	in1995("child receives, two copies", "a normal TCP's copies", "-copies", "normal"),
	{Name: "child receives, our lock", Paper: "no system call for the lock", Stack: "user", Spin: "off", Server: []string{"-receive", "child"}, Table: true},
	{Name: "caller receives, semaphore", Paper: "section 7: receive in the application", Stack: "user", Spin: "off", Server: []string{"-lock", "semaphore"}, Table: true},
	{Name: "caller receives, Peterson", Paper: "A.1", Stack: "user", Spin: "off", Server: []string{"-lock", "peterson"}, Table: true},
	{Name: "caller receives, buffer cache", Paper: "section 7, and a buffer cache", Stack: "user", Spin: "default", Server: []string{"-buffer-cache"}, Table: true},
	{Name: "caller receives, two copies", Paper: "section 7, and a normal TCP's copies", Stack: "user", Spin: "default", Server: []string{"-copies", "normal"}, Table: true},
	{Name: "caller receives, nothing placed", Paper: "section 7, and payloads that lie in the pool until they are read", Stack: "user", Spin: "default", Server: []string{"-copies", "single"}, Table: true},
	{Name: "caller receives (default)", Paper: "section 7, and no system call for the lock", Stack: "user", Spin: "default"},
}

// in1995 is the paper's arrangement: the child takes all packets, a semaphore is the
// lock, nobody spins.
func in1995(name, paper string, more ...string) Variant {
	return Variant{Name: name, Paper: paper, Stack: "user", Spin: "off", Server: append([]string{"-receive", "child", "-lock", "semaphore"}, more...)}
}

func asRoot(v Variant) Variant {
	v.Root = true
	return v
}

// Setting is over what connections go, and how they are tuned.
type Setting struct {
	Name   string            `json:"name"`
	Title  string            `json:"title"`
	Tuning perf.Tuning       `json:"tuning"`
	Server []string          `json:"server_flags,omitempty"`
	NIC    *perf.LinkOptions `json:"devices,omitempty"` // over network devices, which needs root; nil: over a ring, and the kernel over loopback
}

// Settings are the paper's ("socket buffers of 245760 bytes. The Jetstream PDU size was
// 61504 bytes") and today's defaults, over both drivers.
var Settings = []Setting{
	{"ring-paper", "ring, buffers of 245,760 octets, PDUs of 61,504", perf.Tuning{Buffers: 245760}, []string{"-pdu", "61504"}, nil},
	{"ring-today", "ring, default buffers and PDUs", perf.Tuning{}, nil, nil},
	{"nic-paper", "devices, buffers of 245,760 octets, MTU 61,504", perf.Tuning{Buffers: 245760}, nil, &perf.LinkOptions{MTU: 61504}},
	{"nic-today", "devices, default buffers, MTU 1,500", perf.Tuning{}, nil, new(perf.LinkOptions)},
}

// Sizes are the sizes of messages, octets.
var Sizes = []int{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10}
