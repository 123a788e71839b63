#!/usr/bin/env bash
# Fetches what "make test-vm" boots into .cache/kernels, unless it is there: the
# kernels of scripts/vm/matrix, and a static busybox for the guest's shell. They are
# Debian packages, got as scripts/debian.sh says.
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=scripts/debian.sh
source scripts/debian.sh

# fetch_kernel NAME SUITE PACKAGE: the image, its release, and the modules that
# tests use. Newer Debian packages them apart from linux-image-*.
fetch_kernel() {
	local into=$cache/kernels/$1 suite=$2 found image release module
	[[ ! -e $into/release ]] || return 0
	prepare "$suite"
	mapfile -t found < <(packages "$suite" "$3" | grep -E '^linux-(image|binary|modules)-[0-9]')
	((${#found[@]})) || die "$suite's $3 leads to no kernel"
	unpack "$suite" "${found[@]}"
	mkdir -p "$into"
	# boot/vmlinuz-RELEASE, or usr/lib/modules/RELEASE/vmlinuz.
	image=$(find "$work" -name 'vmlinuz*' -type f)
	[[ -n $image ]] || die "no kernel image in ${found[*]}"
	cp "$image" "$into/vmlinuz"
	module=$(find "$work" -path '*/kernel/fs/overlayfs/overlay.ko*')
	case $module in
	*.ko) cp "$module" "$into/overlay.ko" ;;
	*.ko.xz) xz -dc "$module" >"$into/overlay.ko" ;;
	*) die "no overlay module, or packed in a way that is not known: '$module'" ;;
	esac
	# Written last: its presence says that all is there.
	release=${module##*/modules/}
	printf '%s\n' "${release%%/*}" >"$into/release"
}

fetch_busybox() {
	[[ ! -e $cache/kernels/busybox ]] || return 0
	prepare "$1"
	unpack "$1" busybox-static
	find "$work" -type f -name busybox -exec cp {} "$cache/kernels/busybox.new" \;
	mv "$cache/kernels/busybox.new" "$cache/kernels/busybox"
}

mkdir -p "$cache/kernels"
while read -r kernel suite package _; do
	[[ -n $kernel && $kernel != \#* ]] || continue
	fetch_kernel "$kernel" "$suite" "$package"
	last=$suite
done <scripts/vm/matrix
fetch_busybox "$last"
