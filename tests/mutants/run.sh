#!/bin/bash
# Each rule broken once: does a test see it?
#
#   run.sh NAME…     the mutants tests/mutants/NAME.patch
#   run.sh --ci      those marked "ci: yes"
#   run.sh --all     all of them
#
# A patch begins with its header lines:
#   # rule: EVICT-4              the rule it breaks
#   # program: sim_cache         what must find it: a case of sources_of() below
#   # args: --seeds 0 1000       its arguments
#   # ci: yes
# It is applied to a copy of the sources; the program is built from that and must fail. A patch that no longer applies,
# a program that no longer builds, or one that does not notice is a failure of this script (exit 1).
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc=${CC:-cc}
cflags="-std=gnu17 -O1 -g -D_GNU_SOURCE -fno-strict-aliasing -w -Isrc -Itests -include $work/pinion_config.h"
jobs=${MUTANT_JOBS:-2}
printf '#define PINION_VERSION "mutant"\n' > "$work/pinion_config.h"

base="src/base/*.c"
shm="src/shm/*.c"
cache="src/cache/*.c"

# Prints "FLAGS | SOURCES | LIBRARIES" of a program. Other simulations add their case here.
sources_of() {
    case $1 in
    sim_cache)
        local no_wait; no_wait=$(echo $shm | tr ' ' '\n' | grep -v /wait.c)
        local no_clock; no_clock=$(echo $base | tr ' ' '\n' | grep -v /clock.c)
        echo "-DPINION_SIM=1 -Wl,--wrap=spin_take,--wrap=spin_drop | tests/sim/cache.c tests/sim/sim_sched.c" \
            tests/support/cache_fake.c $cache $no_wait $no_clock "| -lsystemd" ;;
    sim_recovery|fault_recover|fault_archive|test_store_xact|test_store_redo)
        local no_wait; no_wait=$(echo $shm | tr ' ' '\n' | grep -v /wait.c)
        local no_clock; no_clock=$(echo $base | tr ' ' '\n' | grep -v /clock.c)
        local main; case $1 in sim_*) main="tests/sim/recovery*.c" ;; fault_*) main=tests/fault/$1.c ;; *) main=tests/unit/$1.c ;; esac
        echo "-DPINION_FAULTS=1 -Wl,--wrap=fault_hit,--wrap=spin_drop |" $main tests/sim/cluster.c tests/sim/coro.c \
            tests/sim/io_sim*.c src/store/*.c src/wal/*.c $cache $no_wait $no_clock "| -lcmocka -lsystemd -llz4" ;;
    sim_sql)
        local no_wait; no_wait=$(echo $shm | tr ' ' '\n' | grep -v /wait.c)
        local no_clock; no_clock=$(echo $base | tr ' ' '\n' | grep -v /clock.c)
        echo "-DPINION_FAULTS=1 -Wl,--wrap=fault_hit,--wrap=spin_drop |" tests/sim/sql*.c tests/sim/cluster.c tests/sim/coro.c \
            tests/sim/io_sim*.c src/sql/*.c src/vfs/*.c src/conf/*.c src/pgwire/*.c src/store/*.c src/wal/*.c $cache $no_wait $no_clock \
            "| -lsqlite3 -lsystemd -llz4 -lm" ;;
    test_vfs)
        echo "| tests/unit/test_vfs.c" $(echo src/vfs/*.c | tr ' ' '\n' | grep -vE '/vfs_(store|build|plain).c') $base \
            "| -lcmocka -lsqlite3 -lsystemd" ;;
    test_cache*|test_chain_serve|test_retire_interval|test_scan_50x)
        echo "| tests/unit/$1.c tests/support/cache_fake.c" $cache $shm $base "| -lcmocka -lsystemd -lpthread" ;;
    test_store_db)
        echo "| tests/unit/$1.c tests/support/store_world.c tests/support/tmpdir.c src/store/*.c src/wal/*.c" $cache $shm $base \
            "| -lcmocka -lsystemd -llz4 -lpthread" ;;
    test_shm_lock)
        echo "-Wl,--wrap=wait_sleep | tests/unit/$1.c" $shm $base "| -lcmocka -lsystemd -lpthread" ;;
    test_wal_flush)
        echo "-Wl,--wrap=wait_sleep | tests/unit/$1.c tests/support/tmpdir.c" src/wal/*.c $shm $base "| -lcmocka -lsystemd -lpthread" ;;
    *)
        return 1 ;;
    esac
}

header() { sed -n "s/^# $2: *//p" "$1" | head -1; }

# Compile one source unless an object of the same text, headers and flags is there. Prints the object.
compile() {
    local src=$1 flags=$2 sum obj
    sum=$({ echo "$flags"; cat "$src" "$headers_sum"; } | sha1sum | cut -c1-40)
    obj=$work/obj/$sum.o
    [ -e "$obj" ] || { $cc $cflags $flags -c "$src" -o "$obj.$$.$RANDOM" && mv "$obj.$$."* "$obj"; } || return 1
    echo "$obj"
}

# Build program $1 from the sources in the current directory into $2.
build() {
    local spec flags sources libs s objs=() pids=()
    spec=$(sources_of "$1") || { echo "no such program: $1"; return 1; }
    IFS='|' read -r flags sources libs <<< "$spec"
    headers_sum=$work/headers.$$
    find src tests \( -name '*.h' -o -name '*.def' \) -print0 | sort -z | xargs -0 cat | sha1sum > "$headers_sum"
    mkdir -p "$work/obj"
    export -f compile; export cc cflags headers_sum work
    printf '%s\n' $sources | FLAGS="${flags//-Wl,*/}" xargs -P "$jobs" -I{} bash -c 'compile {} "$FLAGS"' > "$work/objs" || return 1
    local link=""; for s in $flags; do case $s in -Wl,*) link+=" $s";; esac; done
    $cc $link $(cat "$work/objs") $libs -o "$2"
}

run_one() {
    local name=$1 patch=$here/$1.patch tree=$work/tree program args log=$work/log
    [ -e "$patch" ] || { echo "FAIL $name: there is no such patch"; return 1; }
    program=$(header "$patch" program); args=$(header "$patch" args)
    rm -rf "$tree"; mkdir "$tree"
    cp -r "$top/src" "$top/tests" "$tree/"
    cd "$tree" || return 1
    if ! patch -p1 -s --fuzz=0 --no-backup-if-mismatch < "$patch" > "$log" 2>&1; then
        echo "FAIL $name: the patch no longer applies"; sed 's/^/     /' "$log"; return 1
    fi
    if ! build "$program" "$work/$name" > "$log" 2>&1; then
        echo "FAIL $name: $program does not build"; head -8 "$log" | sed 's/^/     /'; return 1
    fi
    if (timeout 600 "$work/$name" $args; exit $?) > "$log" 2>&1; then
        echo "FAIL $name: $program did not notice ($(header "$patch" rule))"; return 1
    fi
    echo "ok   $name ($(header "$patch" rule)): $(grep -vE '^\[|Aborted' "$log" | tail -1 | cut -c1-110)"
}

# The program must pass without any patch, else "found" means nothing.
check_sound() {
    local program=$1 args=$2
    cd "$top" && build "$program" "$work/sound" > "$work/log" 2>&1 && timeout 600 "$work/sound" $args > "$work/log" 2>&1 \
        && return 0
    echo "FAIL: $program fails without any mutant"; tail -5 "$work/log" | sed 's/^/     /'; return 1
}

names=()
case ${1:-} in
--ci) for p in "$here"/*.patch; do [ "$(header "$p" ci)" = yes ] && names+=("$(basename "$p" .patch)"); done ;;
--all) for p in "$here"/*.patch; do names+=("$(basename "$p" .patch)"); done ;;
""|-*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
*) names=("$@") ;;
esac

failed=0
declare -A sound
for name in "${names[@]}"; do
    p=$(header "$here/$name.patch" program)
    if [ -n "$p" ] && [ -z "${sound[$p]:-}" ]; then
        sound[$p]=1
        case $p in sim_*) check_sound "$p" "--seeds 0 20" ;; *) check_sound "$p" "" ;; esac || failed=1
    fi
    run_one "$name" || failed=1
done
echo "${#names[@]} mutants, $([ $failed = 0 ] && echo all found || echo NOT all found)"
exit $failed
