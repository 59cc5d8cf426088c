#!/usr/bin/env bash
# prepare_instance.sh v1 CATEGORY ONNX VNNLIB: not timed; clears leftovers, checks the files, warms the file cache. No analysis.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
check_version "${1:-}"
[ $# -eq 4 ] || { say "usage: prepare_instance.sh v1 CATEGORY ONNX VNNLIB"; exit 1; }

kill_leftover
find_networks "$3" >/dev/null
find_file "$4" >/dev/null
verifier=$(find_verifier)
timeout 300 "$verifier" --version >/dev/null
