#!/bin/bash
# Everything a developer needs, on a plain Debian 12 machine:
#
#   packaging/dev.sh run         install what is needed, build, leave a server running, show how to use it
#   packaging/dev.sh stop        stop that server
#   packaging/dev.sh test        what CI runs: all builds, all suites; last line "N passed, N failed, N skipped"
#   packaging/dev.sh test-long   the long suites as well
#
# Builds and tests run as root; servers run as the unprivileged user "pinion-dev", which this script makes.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
user=pinion-dev
state=/var/tmp/pinion-dev   # installed builds and the demo cluster: outside the checkout, readable by $user

packages="gcc clang clang-format meson ninja-build pkg-config libc6-dev libclang-rt-14-dev libsystemd-dev
  libjson-c-dev libjansson-dev libsqlite3-dev sqlite3 liblz4-dev zlib1g-dev libcmocka-dev libevent-dev python3 python3-pytest
  python3-psycopg2 python3-prometheus-client postgresql-15 postgresql-client-15 systemd-container strace procps util-linux iproute2"

say() { printf '\n== %s\n' "$*"; }

install_packages() {
    local missing=() p
    for p in $packages; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    # PostgreSQL is here for its tools and to compare with: no cluster of the package's own.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/pinion.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

make_user() {
    id -u $user >/dev/null 2>&1 || useradd --system --home-dir $state --no-create-home --shell /usr/sbin/nologin $user
    install -d -m 755 $state
}

as_user() { setpriv --reuid=$user --regid=$user --clear-groups -- "$@"; }

# build DIR [meson options]: configure once, build ($targets: only those).
build() {
    local dir=$1
    shift
    [ -f "$dir/build.ninja" ] || meson setup "$dir" -Dwerror=true "$@" >"$dir.setup.log" 2>&1 ||
        { cat "$dir.setup.log"; exit 1; }
    rm -f "$dir.setup.log"
    ninja -k 0 --quiet -C "$dir" ${targets:-} >"$dir.log" 2>&1 || { grep -vE "^(ninja: Entering|Compiler for|Program|Dependency|Configuring)" "$dir.log"; exit 1; }
    rm -f "$dir.log"
}

# install_build DIR NAME: into $state/NAME, for the unprivileged user.
install_build() {
    rm -rf "${state:?}/$2"
    DESTDIR="$state/$2" meson install -C "$1" --no-rebuild --quiet >/dev/null
    chmod -R a+rX "$state/$2"
}

prepare() {
    if [ "$(id -u)" != 0 ]; then
        echo "packaging/dev.sh installs packages and makes a user: run it as root" >&2
        exit 1
    fi
    install_packages
    make_user
}

cmd_run() {
    prepare
    say "building"
    build build-run --prefix=/usr
    local ctl
    if [ -S "$state/data/control" ] && ctl=$(ls $state/demo/usr/bin/pinionctl 2>/dev/null) &&
        as_user "$ctl" status -D $state/data >/dev/null 2>&1; then
        as_user "$ctl" stop -D $state/data >/dev/null
    fi
    install_build build-run demo
    ctl=$state/demo/usr/bin/pinionctl
    export PINIOND=$state/demo/usr/sbin/piniond
    if [ ! -f $state/data/PG_VERSION ]; then
        say "making a cluster in $state/data"
        install -d -m 700 -o $user -g $user $state/data
        as_user "$ctl" init -D $state/data -U postgres --auth-local=trust --auth-host=trust
    fi
    say "starting"
    as_user "$ctl" start -D $state/data -l $state/data/server.log
    say "pinionctl status"
    as_user "$ctl" status -D $state/data
    say "psql"
    psql -h $state/data -p 5454 -U postgres -c 'SELECT version()'
    cat <<END
The server runs. Try:
  psql -h $state/data -p 5454 -U postgres
  setpriv --reuid=$user --regid=$user --clear-groups $ctl status -D $state/data
Stop it with: packaging/dev.sh stop
END
}

cmd_stop() {
    as_user $state/demo/usr/bin/pinionctl stop -D $state/data
}

# meson_suite BUILD SUITES…: run, note the results for the summary; failures are printed.
meson_suite() {
    local dir=$1 suites=() s
    shift
    for s in "$@"; do suites+=(--suite "$s"); done
    meson test -C "$dir" --no-rebuild --logbase "log-$1" "${suites[@]}" --print-errorlogs || true
    results+=("$dir/meson-logs/log-$1.json")
}

python_suite() {
    local name=$1
    shift
    find "tests/$name" -name 'test_*.py' 2>/dev/null | grep -q . || return 0
    /usr/bin/python3 -m pytest -q -p no:cacheprovider --junit-xml="$state/$name.xml" "$@" "tests/$name" || true
    results+=("$state/$name.xml")
}

cmd_test() {
    local long=${1:-}
    [ -n "$long" ] && packages="$packages debootstrap"   # for systemd's own Varlink client, of a later Debian
    prepare
    results=()
    rm -f $state/*.xml
    say "gcc, as released: lint, unit, sim"
    build build-test-gcc --prefix=/usr
    meson_suite build-test-gcc lint unit sim mutants
    [ -n "$long" ] && meson_suite build-test-gcc long
    say "clang, address and undefined-behaviour sanitizers, fault points: unit, sim, fault"
    CC=clang build build-test-asan -Db_sanitize=address,undefined -Db_lundef=false -Dfaults=true --prefix=/usr
    meson_suite build-test-asan unit sim fault
    say "clang, thread sanitizer: thread"
    CC=clang build build-test-tsan -Db_sanitize=thread -Db_lundef=false
    meson_suite build-test-tsan thread
    say "clang: unit"
    CC=clang build build-test-clang
    meson_suite build-test-clang unit
    say "gcc, address sanitizer: unit"
    build build-test-gcc-asan -Db_sanitize=address -Db_lundef=false
    meson_suite build-test-gcc-asan unit
    say "clang, libFuzzer: each corpus and some seconds more"
    CC=clang targets=fuzzers build build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false
    meson_suite build-fuzz fuzz
    [ -n "$long" ] && meson_suite build-fuzz fuzz_long
    say "whole servers"
    install_build build-test-gcc test
    export PINION_TEST_ROOT=$state/test PINION_TEST_USER=$user PINION_LONG=$long
    python_suite integration
    say "systemd"
    python_suite systemd
    say "results"
    /usr/bin/python3 tests/support/summary.py "${results[@]}"
}

case ${1:-} in
    run) cmd_run ;;
    stop) cmd_stop ;;
    test) cmd_test ;;
    test-long) cmd_test long ;;
    *)
        sed -n '2,/^set/p' "$top/packaging/dev.sh" | sed -n 's/^# \{0,1\}//p'
        exit 64
        ;;
esac
