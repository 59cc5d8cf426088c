#!/usr/bin/env bash
# run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT: one instance; writes the verdict, and for sat the witness.
#
# Exits 0 whatever happens: another code makes the scorer an error of any result. RESULTS_FILE holds `timeout` until there is
# an answer, so that being killed at any moment leaves a valid result; the answer replaces it in one step.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -eq 6 ] && check_version "$1" || { say "usage: run_instance.sh v1 CATEGORY ONNX VNNLIB RESULTS_FILE TIMEOUT"; exit 0; }
onnx=$3 vnnlib=$4 results=$5 timeout=$6
answer=$(mktemp "$results.XXXXXX") || exit 0
group=

finish() {
    [ -n "$group" ] && kill -KILL -- "-$group" 2>/dev/null
    rm -f "$answer" "$PID_FILE"
    exit 0
}
trap finish EXIT INT TERM HUP

publish() { mv -f "$answer" "$results"; }

publish_word() {
    printf '%s\n' "$1" >"$answer" && chmod 644 "$answer" && publish
}

# A verdict of a run that ended well: one of the four words, and never sat without a witness.
is_valid_answer() {
    local verdict='' witness=''
    [ -s "$answer" ] || return 1
    { IFS= read -r verdict; IFS= read -r witness; } <"$answer"
    case $verdict in
        unsat | unknown | timeout) true ;;
        sat) [ -n "$witness" ] ;;
        *) false ;;
    esac
}

publish_word timeout
printf '%s' "$timeout" | grep -qE '^[0-9]*\.?[0-9]+$|^[0-9]+\.$' || { say "not a number of seconds: $timeout"; publish_word unknown; exit; }

verifier=$(find_verifier) && vnnlib=$(find_file "$vnnlib") && networks=$(find_networks "$onnx") || { publish_word unknown; exit; }
case $onnx in
    '['*) arguments=("$vnnlib"); while IFS= read -r network; do arguments+=(--network "$network"); done <<<"$networks" ;;
    *) arguments=("$networks" "$vnnlib") ;;
esac

# An answer after TIMEOUT counts as none: 3 s (at most a quarter) are kept back for starting and ending the process.
limit=$(awk -v t="$timeout" 'BEGIN { m = t / 4; if (m > 3) m = 3; printf "%.3f", t - m }')

# `timeout` makes a process group of its own, whose number is its own process id.
timeout --kill-after=1 "$timeout" "$verifier" verify "${arguments[@]}" --timeout "$limit" --counterexample "$answer" >&2 &
group=$!
printf '%s\n' "$group" >"$PID_FILE"
wait "$group"
code=$?

case $code in
    0) if is_valid_answer; then publish; else say "no valid answer was written"; publish_word unknown; fi ;;
    124 | 137) say "stopped after $timeout s" ;;
    *) say "the verifier ended with exit code $code"; publish_word unknown ;;
esac
