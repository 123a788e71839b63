#!/usr/bin/env bash
# Runs every fuzz test of the module for a while, one after the other.
#
#   scripts/fuzz.sh [DURATION]    for example 10s, 5m
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:-10s}
found=0
for package in $(go list ./...); do
	for name in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		printf '== %s %s\n' "$package" "$name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$duration" "$package"
		found=$((found + 1))
	done
done
printf '%d fuzz tests passed\n' "$found"
