#!/usr/bin/env bash
# Fetches the PostgreSQL servers of scripts/postgres/matrix into .cache/postgres/VERSION,
# unless they are there: small root trees, each with a server, the libraries that it needs
# and a shell for initdb. They are Debian packages, got as scripts/debian.sh says.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/debian.sh
source scripts/debian.sh
umask 022 # another user runs what is there

# wanted VERSION: of all that installing a server would install, one a line, what running it
# takes. The compiler's library is for queries that are worth compiling, which ours are not.
wanted() {
	grep -Ex "postgresql-$1|lib.*|zlib1g|dash|tzdata" | grep -Evx 'lib(llvm|perl|clang|gcc-[0-9]+-dev).*|lib.*-perl'
}

# in_tree [--list] PROGRAM ARGUMENT...: runs a program of $tree with the libraries there.
in_tree() {
	"$tree/lib64/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$tree/usr/lib/x86_64-linux-gnu" "$@"
}

# fetch_server VERSION SUITE
fetch_server() {
	local version=$1 suite=$2 into=$cache/postgres/$1 tree found dir program missing
	[[ ! -e $into/version ]] || return 0
	prepare "$suite"
	mapfile -t found < <(packages "$suite" "postgresql-$version" dash | wanted "$version")
	((${#found[@]})) || die "$suite offers no postgresql-$version"
	unpack "$suite" "${found[@]}"
	tree=$temporary/tree-$version
	mkdir -p "$tree/usr"
	# Newer Debian has everything below /usr, with links for the old places.
	for dir in bin sbin lib lib64; do
		mkdir -p "$tree/usr/$dir"
		ln -s "usr/$dir" "$tree/$dir"
		[[ ! -d $work/$dir ]] || cp -a "$work/$dir/." "$tree/usr/$dir/"
	done
	for dir in bin sbin lib lib64 share/postgresql share/zoneinfo; do
		[[ -d $work/usr/$dir ]] || continue
		mkdir -p "$tree/usr/$dir"
		cp -a "$work/usr/$dir/." "$tree/usr/$dir/"
	done
	ln -sf dash "$tree/usr/bin/sh"
	mkdir -p "$tree/dev/shm" "$tree/etc" "$tree/tmp"
	chmod 755 "$tree"
	for program in "lib/postgresql/$version/bin/postgres" "lib/postgresql/$version/bin/initdb" bin/dash; do
		missing=$(in_tree --list "$tree/usr/$program" |
			awk -v tree="$tree/" '/=>/ && index($3, tree) != 1 { print $1 }')
		[[ -z $missing ]] || die "$program of PostgreSQL $version needs ${missing//$'\n'/, }, which is in no package of: ${found[*]}"
	done
	in_tree "$tree/usr/lib/postgresql/$version/bin/postgres" --version >"$temporary/version"
	rm -rf "$into"
	mv "$tree" "$into"
	# Written last: its presence says that all is there.
	mv "$temporary/version" "$into/version"
}

mkdir -p "$cache/postgres"
while read -r version suite _; do
	[[ -n $version && $version != \#* ]] || continue
	fetch_server "$version" "$suite"
done <scripts/postgres/matrix
