#!/usr/bin/env bash
# Fails if what is generated and committed differs from what its sources give
# now, or if go.mod is not tidy. Only a difference changes the working tree: the
# new files are left there, ready to be committed.
set -euo pipefail
cd "$(dirname "$0")/.."

before=$(mktemp) after=$(mktemp)
trap 'rm -f "$before" "$after"' EXIT

# Checksums of the generated files, those that are new included.
checksums() {
	find internal docs -type f \
		\( -name '*_bpfel.go' -o -name '*_bpfel.o' -o -path 'internal/attack/data/*' -o -path docs/reference.md \) \
		-exec sha256sum {} + | sort -k 2
}

checksums >"$before"
go generate ./...
checksums >"$after"
if ! diff "$before" "$after" >/dev/null; then
	echo 'drift: these files were out of date, and are regenerated now; commit them:' >&2
	diff "$before" "$after" | awk '/^[<>]/ { print "  " $3 }' | sort -u >&2
	exit 1
fi

go mod tidy -diff
go mod verify
go -C scripts/tools mod tidy -diff
go -C scripts/tools mod verify
