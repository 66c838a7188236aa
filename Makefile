# The steps of .ci/run by name. `make ci` is what has to pass before a change goes in.
.PHONY: ci lint test race fuzz bench generate sim crash kill nic restart soak table stop hostile goodput

ci:
	.ci/run

lint test race fuzz bench:
	.ci/run $@

# The eBPF objects of internal/nic, after a change of their sources; this needs clang,
# llvm-strip and libbpf's headers.
generate:
	go generate ./internal/nic

# A million seeds of the simulator, from SEED on; `go test ./internal/sim` runs 2,000.
SEED ?= 1
SEEDS ?= 1000000
sim:
	go run ./cmd/usertcp sim -seeds $(SEED)..$$(($(SEED) + $(SEEDS) - 1)) -jobs $$(nproc)

# A death at every write to the segment, of every kind of step; `go test` tries one
# in ten.
crash:
	USERTCP_CRASH=100 go test -count=1 -v -run TestCrashAtEveryWrite ./internal/half

# 100,000 programs killed at random instants under full load, four of five over a ring and
# one over devices, which takes root; `go test` kills 2,500. What was counted so far goes
# into out/kill.log. KILL_TIME ends it sooner, for each of the two: KILL_TIME=30m.
kill:
	mkdir -p out
	USERTCP_KILLS=100000 USERTCP_KILL_TIME=$(KILL_TIME) USERTCP_KILL_LOG=$(CURDIR)/out/kill.log \
		go test -count=1 -v -timeout 8h -run TestKill ./tests/kill

# The tests over devices, with ten times as many connections and octets; this needs root.
nic:
	USERTCP_NIC=1 go test -count=1 -v -timeout 1h ./tests/nic

# 100,000 requests to a web server that is replaced after every 500 of them, and the same
# over the kernel's TCP; `go test` makes 5,000.
restart:
	USERTCP_REQUESTS=100000 go test -count=1 -v -timeout 30m -run TestRestart ./examples

# Everything at once for 10 minutes (or SOAK), while memory, descriptors and goroutines
# are watched; `go test` does it for 5 seconds.
SOAK ?= 10m
soak:
	USERTCP_SOAK=$(SOAK) go test -count=1 -v -timeout 1h -run TestSoak .

# All rows of the speed table, put into the README; as root over devices, too. A machine
# that does nothing else, 5 minutes.
table:
	go run ./cmd/usertcp table -into README.md -out table

# A program that is stopped for a minute; `go test` stops it for 7 seconds.
stop:
	USERTCP_STOP=60s go test -count=1 -v -run 'TestStopped' .

# An honest stream beside each hostile program, and beside a harmless one that uses as much
# CPU. A machine that does nothing else.
hostile:
	go test -run '^$$' -bench Beside -benchtime 15x ./tests/hostile

# The table of goodput over paths that lose, delay and reorder (tests/goodput), written
# anew: most of an hour, as root, on a machine that does nothing else.
goodput:
	go test -exec 'chrt -f 10' -count=1 -v -timeout 90m -run Table ./tests/goodput -update
