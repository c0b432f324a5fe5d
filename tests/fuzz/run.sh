#!/bin/bash
# run.sh PROGRAM CORPUS SECONDS: the corpus, then so many seconds of new inputs, which go to a directory of their own; what
# crashes is kept beside the program and its name printed.
set -u
program=$1 corpus=$2 seconds=$3
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
"$program" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix="$(dirname "$program")/" "$found" "$corpus" 2>&1 | tail -40
exit "${PIPESTATUS[0]}"
