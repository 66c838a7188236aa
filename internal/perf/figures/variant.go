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
}

// Variants are those of the paper's figures 2 and 3, as far as they have a
// counterpart, from the arrangement of 1995 to what is the default here.
var Variants = []Variant{
	{Name: "kernel TCP", Paper: "single-copy kernel TCP", Stack: "kernel"},
	{Name: "child receives", Paper: "neither optimisation", Stack: "user", Spin: "off", Server: []string{"-receive", "child", "-lock", "semaphore"}},
	{Name: "child receives, real-time", Paper: "real-time child", Stack: "user", Spin: "off", Server: []string{"-receive", "child", "-lock", "semaphore", "-realtime", "10"}, Root: true},
	{Name: "child receives, our lock", Paper: "no system call for the lock", Stack: "user", Spin: "off", Server: []string{"-receive", "child"}},
	{Name: "caller receives, semaphore", Paper: "section 7: receive in the application", Stack: "user", Spin: "off", Server: []string{"-lock", "semaphore"}},
	{Name: "caller receives, Peterson", Paper: "A.1", Stack: "user", Spin: "off", Server: []string{"-lock", "peterson"}},
	{Name: "caller receives (default)", Paper: "section 7, and no system call for the lock", Stack: "user", Spin: "default"},
}

// Setting is how connections are tuned.
type Setting struct {
	Name   string      `json:"name"`
	Title  string      `json:"title"`
	Tuning perf.Tuning `json:"tuning"`
	Server []string    `json:"server_flags,omitempty"`
}

// Settings are the paper's ("socket buffers of 245760 bytes. The Jetstream PDU size was
// 61504 bytes") and today's defaults.
var Settings = []Setting{
	{"paper", "buffers of 245,760 octets, PDUs of 61,504", perf.Tuning{Buffers: 245760}, []string{"-pdu", "61504"}},
	{"today", "default buffers and PDUs", perf.Tuning{}, nil},
}

// Sizes are the sizes of messages, octets.
var Sizes = []int{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10}
