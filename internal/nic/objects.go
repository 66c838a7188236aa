package nic

// The programs are C (bpf/), compiled into objects that are committed, so that who
// builds usertcp needs no clang. objects_test.go tells when they are stale.
//
//go:generate go tool bpf2go -go-package nic -target bpfel,bpfeb -cc clang -cflags "-O2 -g -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" kernel bpf/kernel.c
//go:generate go test -run ^TestObjectsAreFresh$ . -args -update
