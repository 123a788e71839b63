#!/usr/bin/env bash
# Installs what a task needs, and says what and why. Safe to run again: what is
# there already is left alone, and then no root is needed.
#
#   scripts/setup.sh run    build and run the agent: Go, nothing else
#   scripts/setup.sh test   also run all tests, linters and generators; fetches the
#                           kernels of scripts/vm/matrix into .cache/kernels, and the
#                           servers of scripts/postgres/matrix into .cache/postgres
#   scripts/setup.sh dev    also tools to look at a running agent
#
# For Debian 12 or later and Ubuntu 24.04 or later.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# needs COMMAND PACKAGE REASON: notes the package if the command, or the file if
# it begins with a slash, is not there.
packages=()
needs() {
	local what=$1 package=$2 reason=$3
	if [[ $what == /* ]]; then
		[[ -e $what ]] && return
	elif command -v "$what" >/dev/null; then
		return
	fi
	printf 'setup: installing %s: %s\n' "$package" "$reason"
	packages+=("$package")
}

# needs_postgres is needs for a server whose version is in its path.
needs_postgres() {
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null ||
		needs initdb postgresql 'the tests start PostgreSQL servers of their own'
}

install_packages() {
	((${#packages[@]})) || return 0
	command -v apt-get >/dev/null ||
		die "this system has no apt-get; install by hand the equivalents of: ${packages[*]}"
	[[ $(id -u) == 0 ]] ||
		die "installing packages needs root: run 'sudo scripts/setup.sh $level' once"
	local missing
	missing=$(unavailable)
	if [[ -n $missing ]]; then
		apt-get update
		missing=$(unavailable)
	fi
	[[ -z $missing ]] ||
		die "this distribution does not offer: $missing (Debian 12 and Ubuntu 24.04, and later ones, do)"
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
}

# unavailable prints the packages wanted for which apt knows no candidate.
unavailable() {
	local p out=()
	for p in "${packages[@]}"; do
		[[ $(apt-cache policy "$p" 2>/dev/null) == *'Candidate: '[!\(]* ]] || out+=("$p")
	done
	printf '%s' "${out[*]}"
}

# check_go fails unless Go is there in the version that go.mod asks for. From 1.21
# on, Go fetches a newer one by itself.
check_go() {
	local want have
	want=$(awk '$1 == "go" { print $2 }' go.mod)
	command -v go >/dev/null ||
		die "Go is not installed or not in PATH; install Go $want from https://go.dev/dl/"
	have=$(go env GOVERSION 2>&1) ||
		die "Go can't be used for this module, which needs Go $want: $have"
	have=${have#go}
	[[ $(printf '%s\n' "$want" "${have%% *}" | sort -V | head -n 1) == "$want" ]] ||
		die "Go $have is too old; install Go $want from https://go.dev/dl/"
}

test_packages() {
	needs git git 'the tests run git checkout on a rules directory'
	needs vim vim 'the tests save rule files with vim'
	needs nano nano 'the tests save rule files with nano'
	needs emacs emacs-nox 'the tests save rule files with emacs'
	needs_postgres
	needs /usr/sbin/pgbouncer pgbouncer 'the tests put operators of the database behind it'
	needs rsync rsync 'the tests copy rule files with rsync'
	needs gcc gcc "the race detector and 'make race' need a C compiler, and so does spin"
	needs /usr/include/stdlib.h libc6-dev "the race detector and 'make race' need the C library's headers"
	needs clang-19 clang-19 "compiles the BPF programs for 'make generate' and 'make drift'"
	needs llvm-strip-19 llvm-19 'strips debug data from BPF objects'
	needs clang-format-19 clang-format-19 "checks the style of the C code in 'make lint'"
	needs /usr/include/bpf/bpf_helpers.h libbpf-dev 'declares the BPF helper functions'
	needs /usr/include/linux/bpf.h linux-libc-dev 'declares the kernel interface to BPF programs'
	needs shellcheck shellcheck "checks the scripts in 'make lint'"
	needs spin spin "searches the models in 'make model'"
	needs qemu-system-x86_64 qemu-system-x86 'runs the kernel tests on other kernels'
	needs xz xz-utils 'unpacks the modules of those kernels'
	needs /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring 'checks the signatures of what is fetched'
}

dev_packages() {
	needs /usr/sbin/bpftool bpftool 'shows the programs and maps of a running agent'
}

level=${1:-run}
case $level in
run) ;;
test) test_packages ;;
dev)
	test_packages
	dev_packages
	;;
*) die "unknown task '$level': want run, test or dev" ;;
esac
install_packages
check_go
if [[ $level != run ]]; then
	scripts/vm/fetch.sh
	scripts/postgres/fetch.sh
fi
