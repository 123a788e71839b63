#!/usr/bin/env bash
# Checks the model of the swap: as it is, no order of steps may break a property, all of them
# having been searched; with a known bug put in, one has to break. Needs spin and gcc, about
# three minutes of one core, and 2 GiB. Prints a line for each search.
#
#   scripts/model/run.sh          all of them
#   scripts/model/run.sh NAME...  some
set -euo pipefail
cd "$(dirname "$0")"

memory=3500  # MiB
depth=200000 # steps

# Steps at which a crash has to have been tried: those of the writer and of the reclaimer.
writer_steps=18
reclaimer_steps=5
# What has to have happened at least once: SEEN of swap.pml.
witnesses=14

# name|macros: what holds in all of them is the claim.
correct='
swaps|COMMITS=4
abandoned|COMMITS=3 ABORTS=1 FEW
readers|COMMITS=2 READERS=2 FEW
crash|COMMITS=3 KILLS=1 FEW
crashes|COMMITS=1 KILLS=2
bookkeeping|COMMITS=3 KILLS=2 FEW NO_READERS
progress|COMMITS=2 KILLS=1 FEW PROGRESS
'

# name|macros|what the bug is.
bugs='
late-epoch|COMMITS=2 LATE_EPOCH|the epoch is loaded after the look-ups
early-swap|COMMITS=2 EARLY_SWAP|the epoch is stored before the old versions die
no-grace|COMMITS=3 NO_GRACE|what has died is reused at once
born-after-died|COMMITS=3 BORN_AFTER_DIED|an emptied slot loses died before born
born-first|COMMITS=3 READ_BORN_FIRST|readers load born before died
reuse-key|COMMITS=3 REUSE_KEY|a deleted key and its row are used again at once
reuse-block|COMMITS=3 BLOCK_AT_ONCE|the cells that a row has left are used again at once
keep-lock|COMMITS=2 FEW KEEP_LOCK PROGRESS|the reclaimer keeps the lock
no-scrub|COMMITS=2 KILLS=1 FEW NO_SCRUB|a successor commits at once
scrub-no-deaths|COMMITS=2 KILLS=1 FEW SCRUB_NO_DEATHS|it leaves deaths that did not come
scrub-no-cells|COMMITS=2 KILLS=1 FEW SCRUB_NO_CELLS|it leaves the bits of slots that hold nothing
scrub-new-bits|COMMITS=2 KILLS=1 FEW SCRUB_NEW_BITS|it makes the in-use bits anew, from none
scrub-no-grace|COMMITS=2 KILLS=1 FEW SCRUB_NO_GRACE|it reuses rows and cells that nothing leads to at once
scrub-no-dead|COMMITS=2 KILLS=1 FEW SCRUB_NO_DEAD|it forgets slots that wait for a grace period
scrub-new-ids|COMMITS=2 KILLS=1 FEW SCRUB_NEW_IDS|it numbers versions from 1
'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# search NAME MACRO...: compiles and runs one, into $work/NAME.
search() {
	local name=$1 kind=(-DSAFETY) how=() optimize=-O2
	shift
	[[ $1 != VERDICTS ]] || optimize=-O0 # bugs are soon found
	local macros=("${@/#/-D}")
	if [[ " $* " == *' PROGRESS '* ]]; then
		kind=(-DNFAIR=3)
		how=(-a -f)
	fi
	mkdir -p "$work/$name"
	(
		cd "$work/$name"
		spin -a "${macros[@]}" "$OLDPWD/swap.pml" >spin.log
		# Exact: states are stored whole, if packed, and no order is left out.
		gcc $optimize -w "${kind[@]}" -DNOREDUCE -DCOLLAPSE -DVECTORSZ=512 -DMEMLIM=$memory -o pan pan.c
		./pan "${how[@]}" -m$depth -w22 >pan.log 2>&1
	) || { echo "model: $name could not be run:" >&2 && tail -n 5 "$work/$name"/*.log >&2 && exit 1; }
}

field() { sed -nE "s/$2/\\1/p" "$work/$1/pan.log" | head -n 1; }

# errors prints how many; nothing, if the search did not get to its end.
errors() { field "$1" '.*errors: ([0-9]+)$'; }

# complete NAME: every state that can be reached was.
complete() {
	! grep -qiE 'depth too small|not completed|out of memory|memory limit|hash-compact|bitstate|interrupted' \
		"$work/$1/pan.log"
}

# property NAME: the one that broke.
property() {
	local found
	found=$(field "$1" '^pan:[0-9]+: assertion violated +!\(?([a-z_]+)\)?.*')
	if [[ -z $found ]] && grep -q 'acceptance cycle' "$work/$1/pan.log"; then
		found=not_done_in_the_end
	fi
	printf '%s' "${found:-$(field "$1" '^pan:[0-9]+: (.*) \(at depth.*')}"
}

report() {
	local name=$1 states deep time
	states=$(field "$name" '^ *([0-9]+) states, stored.*')
	deep=$(field "$name" '.*depth reached ([0-9]+),.*')
	time=$(field "$name" '^pan: elapsed time ([0-9.e+-]+) seconds.*')
	printf '%-16s %10s %7s %7s  %s\n' "$name" "$states" "$deep" "$time" "$2"
}

fail() {
	report "$1" "FAILED: $2"
	failed=1
}

wanted() {
	local name=$1
	shift
	(($# == 0)) || [[ " $* " == *" $name "* ]]
}

# unreached NAME: statements that the search did not reach, a line of swap.pml and its text each.
unreached() {
	sed -nE 's/^\t.*swap\.pml:([0-9]+), state [0-9]+, "(.*)"$/\1 \2/p' "$work/$1/pan.log" | sort -u
}

printf '%-16s %10s %7s %7s  %s\n' search states depth seconds verdict
safety=()
while IFS='|' read -r name macros; do
	if [[ -z $name ]] || ! wanted "$name" "$@"; then continue; fi
	# shellcheck disable=SC2086 # a list of words
	search "$name" $macros
	[[ $macros == *PROGRESS* ]] || safety+=("$name")
	if ! complete "$name"; then
		fail "$name" 'the search is not complete'
	elif [[ $(errors "$name") != 0 ]]; then
		fail "$name" "$(property "$name")"
	else
		report "$name" 'complete, no errors'
	fi
done <<<"$correct"

while IFS='|' read -r name macros what; do
	if [[ -z $name ]] || ! wanted "$name" "$@"; then continue; fi
	# shellcheck disable=SC2086 # a list of words
	search "$name" VERDICTS $macros
	found=$(property "$name")
	if [[ $(errors "$name") == [1-9]* && $found =~ ^[a-z_]+$ ]]; then
		report "$name" "found by $found: $what"
	else
		fail "$name" "not found: $what"
	fi
done <<<"$bugs"

# A model in which little can happen proves little.
if (($# == 0)); then
	logs=("${safety[@]/#/$work/}")
	logs=("${logs[@]/%//pan.log}")
	# The ends of processes that go on for ever are all that no search may reach.
	for name in "${safety[@]}"; do unreached "$name"; done | sort | uniq -c |
		awk -v n="${#safety[@]}" '$1 == n && !/"?-end-/ { print }' >"$work/unreached"
	seen=$(grep -h '^seen' "${logs[@]}" | sort -u | wc -l)
	writer=$(grep -h '^killed at writer' "${logs[@]}" | sort -u | wc -l)
	reclaimer=$(grep -h '^killed at reclaimer' "${logs[@]}" | sort -u | wc -l)
	printf 'crashes at %d of %d steps of the writer, %d of %d of the reclaimer; %d of %d witnesses; %d statements not reached\n' \
		"$writer" $writer_steps "$reclaimer" $reclaimer_steps "$seen" $witnesses "$(wc -l <"$work/unreached")"
	cat "$work/unreached"
	if ((writer != writer_steps || reclaimer != reclaimer_steps || seen != witnesses)) || [[ -s $work/unreached ]]; then
		echo 'model: FAILED: there is something that never happens' >&2
		failed=1
	fi
fi
exit $failed
