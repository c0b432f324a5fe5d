#!/bin/bash
# Each patch of tests/mutants applies to the tree as it is, without fuzz. That it is found is for tests/mutants/run.sh: CI runs
# some of them, the long suite all.
cd "$(dirname "$0")/../.." || exit 1
failed=0
for p in tests/mutants/*.patch; do
    if ! patch -p1 -s --fuzz=0 --dry-run < "$p" > /dev/null 2>&1; then
        echo "$p no longer applies: make it again from the code as it is"
        failed=1
    fi
done
exit $failed
