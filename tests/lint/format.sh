#!/bin/bash
# Every C file is as clang-format 14 leaves it.
cd "$(dirname "$0")/../.." || exit 1
command -v clang-format >/dev/null || { echo "SKIP: clang-format is not installed"; exit 77; }
bad=0
while read -r file; do
    clang-format --dry-run -Werror "$file" >/dev/null 2>&1 || { echo "$file: run clang-format -i"; bad=1; }
done < <(find src ctl tests -name '*.[ch]' | sort)
exit $bad
