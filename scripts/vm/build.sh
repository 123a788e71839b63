#!/usr/bin/env bash
# Builds what runs on other kernels, static: the test binaries of the packages below,
# each with its test data, and the program that runs them.
#
#   scripts/vm/build.sh DIRECTORY
#
# leaves DIRECTORY/guest and DIRECTORY/tests/NAME/NAME.test.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(internal/agent internal/inotify internal/loader internal/require)

out=$1
export CGO_ENABLED=0
go build -trimpath -ldflags='-s -w' -o "$out/guest" ./internal/vm/guest
rm -rf "$out/tests"
for package in "${packages[@]}"; do
	name=${package##*/}
	mkdir -p "$out/tests/$name"
	# The directory of the source is no part of a binary: it runs elsewhere.
	go test -c -trimpath -ldflags='-s -w' -o "$out/tests/$name/$name.test" "./$package"
	[[ ! -d $package/testdata ]] || cp -r "$package/testdata" "$out/tests/$name/"
done
