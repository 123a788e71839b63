# shellcheck shell=bash
# Gets Debian packages of any suite through apt and unpacks them, without installing them.
# apt works on lists of its own, so the system's stay as they are. Needs no root.
# For scripts to source, from the module's root.
#
# The mirror is the one that this system's apt uses for Debian, or else
# BITTERN_DEBIAN_MIRROR.

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

# packages SUITE PACKAGE...: what installing them would install, one a line.
packages() {
	local suite=$1
	shift
	suite_apt "$suite" apt-get -s --no-install-recommends install "$@" | awk '$1 == "Inst" { print $2 }'
}

[[ -e $keyring ]] || die "no $keyring to check packages with; install debian-archive-keyring"
mkdir -p "$cache"
temporary=$(mktemp -d "$cache/fetch-XXXXXX")
trap 'rm -rf "$temporary"' EXIT
work=$temporary/unpacked
