#!/usr/bin/env bash
# Builds what runs on other kernels, static.
#
#   scripts/vm/build.sh DIRECTORY [tests]
#   scripts/vm/build.sh DIRECTORY bench
#
# leaves DIRECTORY/guest, the program that runs the rest. Of the first form are
# DIRECTORY/tests/NAME/NAME.test, the test binaries of the packages below with their
# test data; of the second, DIRECTORY/bench with the agent and what measures it.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(internal/agent internal/inotify internal/loader internal/require internal/rules/wallclock)

out=$1
export CGO_ENABLED=0
go build -trimpath -ldflags='-s -w' -o "$out/guest" ./internal/vm/guest
if [[ ${2:-tests} == bench ]]; then
	mkdir -p "$out/bench"
	go build -trimpath -o "$out/bench/bittern" ./cmd/agent
	go build -trimpath -ldflags='-s -w' -o "$out/bench/speed" ./internal/bench/speed
	gcc -O2 -static -Wall -Werror -o "$out/bench/workload" internal/bench/workload/workload.c
	exit
fi
rm -rf "$out/tests"
for package in "${packages[@]}"; do
	name=${package##*/}
	mkdir -p "$out/tests/$name"
	# The directory of the source is no part of a binary: it runs elsewhere.
	go test -c -trimpath -ldflags='-s -w' -o "$out/tests/$name/$name.test" "./$package"
	[[ ! -d $package/testdata ]] || cp -r "$package/testdata" "$out/tests/$name/"
done
