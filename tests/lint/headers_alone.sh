#!/bin/bash
# Every header compiles alone, in C17. Argument: the file to force-include (pinion_config.h of a build).
set -u
cd "$(dirname "$0")/../.." || exit 1
config=${1:?path of pinion_config.h}
flags=$(pkg-config --cflags json-c libsystemd jansson sqlite3)
bad=0
while read -r header; do
    # shellcheck disable=SC2086
    if ! echo "#include \"${header#src/}\"" | cc -std=gnu17 -D_GNU_SOURCE -include "$config" -Isrc -I. -Ictl \
        $flags -Wall -Wextra -Werror -fsyntax-only -x c -; then
        echo "$header does not compile alone"
        bad=1
    fi
done < <(find src ctl -name '*.h' | sort)
[ $bad = 0 ] && echo "headers: each compiles alone"
exit $bad
