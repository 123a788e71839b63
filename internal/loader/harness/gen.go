// Package harness holds the compiled program that judges events without a hook,
// for tests and benchmarks of the loader. The agent does not link it.
package harness

//go:generate go tool bpf2go -go-package harness -target amd64,arm64 -cc clang-19 -strip llvm-strip-19 -no-global-types -type trial -type expectation -type tally Harness ../../../bpf/harness.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
