#!/usr/bin/env bash
# Fetches what "make test-vm" boots into .cache/kernels, unless it is there: the
# kernels of scripts/vm/matrix, and a static busybox for the guest's shell. They are
# Debian packages, got through apt and unpacked without installing them. apt works
# on lists of its own, so the system's stay as they are. Needs no root.
#
# The mirror is the one that this system's apt uses for Debian, or else
# BITTERN_DEBIAN_MIRROR.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=$PWD/.cache
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	printf 'fetch: %s\n' "$*" >&2
	exit 1
}

# suite_apt SUITE TOOL ARGUMENT...: runs apt-get or apt-cache on that suite alone.
suite_apt() {
	local dir=$temporary/apt/$1 tool=$2
	shift 2
	"$tool" -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State="$dir" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User="$(id -un)" \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

mirror() {
	local sites=${BITTERN_DEBIAN_MIRROR:-}
	# shellcheck disable=SC2016 # apt expands it
	[[ -n $sites ]] ||
		sites=$(apt-get indextargets --format '$(SITE)' 'Label: Debian' 'Created-By: Packages')
	[[ -n $sites ]] ||
		die "apt knows no Debian mirror on this system; set BITTERN_DEBIAN_MIRROR to the address of one"
	head -n 1 <<<"$sites"
}

# prepare SUITE: gets the suite's lists, once in a run.
declare -A prepared=()
prepare() {
	local dir=$temporary/apt/$1 site
	[[ -z ${prepared[$1]:-} ]] || return 0
	site=$(mirror)
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	: >"$dir/status"
	printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$keyring" "$site" "$1" >"$dir/sources.list"
	suite_apt "$1" apt-get update
	prepared[$1]=1
}

# unpack SUITE PACKAGE...: puts the files of the packages, and nothing else, into $work.
unpack() {
	local suite=$1 package
	shift
	rm -rf "$work"
	mkdir "$work"
	(cd "$temporary" && suite_apt "$suite" apt-get download "$@")
	for package in "$temporary"/*.deb; do
		dpkg-deb -x "$package" "$work"
		rm "$package"
	done
}

# packages SUITE PACKAGE: what installing it would install, one a line.
packages() {
	suite_apt "$1" apt-get -s --no-install-recommends install "$2" | awk '$1 == "Inst" { print $2 }'
}

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

[[ -e $keyring ]] || die "no $keyring to check packages with; install debian-archive-keyring"
mkdir -p "$cache/kernels"
temporary=$(mktemp -d "$cache/fetch-XXXXXX")
trap 'rm -rf "$temporary"' EXIT
work=$temporary/unpacked
while read -r kernel suite package _; do
	[[ -n $kernel && $kernel != \#* ]] || continue
	fetch_kernel "$kernel" "$suite" "$package"
	last=$suite
done <scripts/vm/matrix
fetch_busybox "$last"
