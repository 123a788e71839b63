#!/usr/bin/env bash
# Checks the models of the swap and of the take-over: as they are, no order of steps may break a
# property, all of them having been searched; with a known bug put in, one has to break. Needs spin
# and gcc, about two minutes of one core, and 1 GiB. Prints a line for each search.
#
#   scripts/model/run.sh          all of them
#   scripts/model/run.sh NAME...  some
set -euo pipefail
cd "$(dirname "$0")"

memory=3500  # MiB
depth=200000 # steps

# model|name|macros: what holds in all of them is the claim.
correct='
swap|swaps|COMMITS=4
swap|abandoned|COMMITS=3 ABORTS=1 FEW
swap|few-slots|COMMITS=3 SLOTS=3
swap|few-cells|COMMITS=3 TIGHT
swap|readers|COMMITS=2 READERS=2 FEW
swap|crash|COMMITS=3 CRASH
swap|crash-undo|COMMITS=2 ABORTS=1 CRASH
swap|progress|COMMITS=3 PROGRESS
takeover|two-kills|EVENTS=3 KILLS=2
takeover|one-kill|EVENTS=4 KILLS=1
takeover|two-records|EVENTS=3 KILLS=2 RING=2
takeover|gets-done|EVENTS=2 KILLS=2 PROGRESS
'

# model|name|macros|what the bug is.
bugs='
swap|late-epoch|COMMITS=2 LATE_EPOCH|the epoch is loaded after the look-ups
swap|early-swap|COMMITS=2 EARLY_SWAP|the epoch is stored before the old versions die
swap|no-grace|COMMITS=3 NO_GRACE|what has died is reused at once
swap|born-after-died|COMMITS=3 BORN_AFTER_DIED|an emptied slot loses died before born
swap|born-first|COMMITS=3 READ_BORN_FIRST|readers load born before died
swap|reuse-key|COMMITS=3 REUSE_KEY|a deleted key and its row are used again at once
swap|reuse-block|COMMITS=3 BLOCK_AT_ONCE|the cells that a row has left are used again at once
swap|keep-lock|COMMITS=2 FEW KEEP_LOCK PROGRESS|the reclaimer keeps the lock
swap|undo-no-deaths|COMMITS=2 ABORTS=1 FEW UNDO_NO_DEATHS|deaths for an epoch that does not come stay
swap|forget-rest|COMMITS=3 FORGET_REST|a commit does not see what the reclaimer is clearing
takeover|no-grace-reading|EVENTS=2 KILLS=1 NO_GRACE|the old ring is read to its end without a grace period
takeover|early-release|EVENTS=2 KILLS=1 EARLY_RELEASE|a record is given back before it is written
takeover|late-pin|EVENTS=2 KILLS=1 LATE_PIN|an instance is pinned after the first hook was taken
takeover|no-deduplication|EVENTS=2 KILLS=1 NO_DEDUPLICATION|what was written before is written again
takeover|no-gap-ids|EVENTS=2 KILLS=1 NO_GAP_IDS|so are gap records
takeover|no-note|EVENTS=3 KILLS=1 NO_NOTE|what a gap record will say is not noted first
takeover|early-remove|EVENTS=2 KILLS=1 EARLY_REMOVE|an instance is removed before its losses are reported
takeover|late-journal|EVENTS=2 KILLS=1 LATE_JOURNAL|the journal is written after the epoch
takeover|no-lock|EVENTS=1 KILLS=0 NO_LOCK|an agent starts beside another
'

# model|what has to have happened at least once|how often: SEEN, and the steps at which a crash was.
happens='
swap|seen|15
swap|killed at writer|18
swap|killed at reclaimer|5
takeover|seen|10
takeover|killed at agent|15
takeover|killed at reader|4
takeover|killed at reporter|8
'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# search MODEL NAME MACRO...: compiles and runs one, into $work/NAME.
search() {
	local model=$1 name=$2 kind=(-DSAFETY) how=() optimize=-O2
	shift 2
	[[ $1 != VERDICTS ]] || optimize=-O0 # bugs are soon found
	local macros=("${@/#/-D}")
	if [[ " $* " == *' PROGRESS '* ]]; then
		kind=(-DNFAIR=3)
		how=(-a -f)
	fi
	mkdir -p "$work/$name"
	(
		cd "$work/$name"
		spin -a "${macros[@]}" "$OLDPWD/$model.pml" >spin.log
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

# unreached NAME: statements that the search did not reach, a file, a line and its text each.
unreached() {
	sed -nE 's/^\t(.*\/)?([a-z]+\.pml:[0-9]+), state [0-9]+, "(.*)"$/\2 \3/p' "$work/$1/pan.log" | sort -u
}

# logs MODEL: of its searches for broken properties.
logs() {
	local name
	for name in ${safety[$1]}; do printf '%s\n' "$work/$name/pan.log"; done
}

printf '%-16s %10s %7s %7s  %s\n' search states depth seconds verdict
declare -A safety=()
while IFS='|' read -r model name macros; do
	if [[ -z $name ]] || ! wanted "$name" "$@"; then continue; fi
	# shellcheck disable=SC2086 # a list of words
	search "$model" "$name" $macros
	[[ $macros == *PROGRESS* ]] || safety[$model]+=" $name"
	if ! complete "$name"; then
		fail "$name" 'the search is not complete'
	elif [[ $(errors "$name") != 0 ]]; then
		fail "$name" "$(property "$name")"
	else
		report "$name" 'complete, no errors'
	fi
done <<<"$correct"

while IFS='|' read -r model name macros what; do
	if [[ -z $name ]] || ! wanted "$name" "$@"; then continue; fi
	# shellcheck disable=SC2086 # a list of words
	search "$model" "$name" VERDICTS $macros
	found=$(property "$name")
	if [[ $(errors "$name") == [1-9]* && $found =~ ^[a-z_]+$ ]]; then
		report "$name" "found by $found: $what"
	else
		fail "$name" "not found: $what"
	fi
done <<<"$bugs"

# A model in which little can happen proves little.
if (($# == 0)); then
	missing=0
	while IFS='|' read -r model what want; do
		[[ -n $model ]] || continue
		mapfile -t of < <(logs "$model")
		happened=$(grep -h "^$what " "${of[@]}" | sort -u | wc -l)
		printf '%s: %s: %d of %d\n' "$model" "$what" "$happened" "$want"
		((happened == want)) || missing=1
	done <<<"$happens"
	for model in "${!safety[@]}"; do
		read -ra names <<<"${safety[$model]}"
		# The ends of processes that go on for ever are all that no search may reach.
		for name in "${names[@]}"; do unreached "$name"; done | sort | uniq -c |
			awk -v n="${#names[@]}" '$1 == n && !/"?-end-/ { print }'
	done >"$work/unreached"
	printf '%d statements not reached\n' "$(wc -l <"$work/unreached")"
	cat "$work/unreached"
	if ((missing)) || [[ -s $work/unreached ]]; then
		echo 'model: FAILED: there is something that never happens' >&2
		failed=1
	fi
fi
exit $failed
