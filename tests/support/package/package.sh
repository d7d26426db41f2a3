#!/bin/sh
# Goal:   an outside program builds against the install tree and runs, by CMake and by pkg-config, after the
#         tree was moved; the installed command runs; each installed header compiles.
# Method: installs a build into a temporary folder, moves it, builds outside.c against it twice.
#
# usage: package.sh BUILD_DIR VERSION. It must not see the source tree's headers or the build's libraries.
set -eu

build=$1
version=$2
here=$(cd "$(dirname "$0")" && pwd)
work=$(cd "$(mktemp -d)" && pwd -P)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "package: $*" >&2
    exit 1
}

# Does the program in $1 print this version, the ref device, and for each installed plugin a device there?
judge() {
    "$1" >"$work/output" || fail "$1 ends with code $?"
    grep -qx "version $version" "$work/output" || fail "$1 does not print version $version"
    grep -q '^device ref usable' "$work/output" || fail "$1 does not list the device ref"
    for plugin in "$libdir"/weir/*.so; do
        [ -e "$plugin" ] || continue
        grep -q "path=$plugin\$" "$work/output" || fail "$1 did not load the installed $plugin"
    done
    cat "$work/output"
}

cmake --install "$build" --prefix "$work/first" >"$work/install.log" || fail "cannot install"
mv "$work/first" "$work/installed"
pc=$(find "$work/installed" -name weir.pc)
[ -n "$pc" ] || fail "no weir.pc was installed"
libdir=$(dirname "$(dirname "$pc")")
unset LD_LIBRARY_PATH WEIR_PLUGIN_PATH

echo "by CMake:"
cmake -S "$here" -B "$work/by-cmake" -DCMAKE_PREFIX_PATH="$work/installed" >"$work/configure.log" ||
    fail "find_package(weir) fails: $(cat "$work/configure.log")"
cmake --build "$work/by-cmake" >"$work/build.log" || fail "does not build: $(cat "$work/build.log")"
judge "$work/by-cmake/outside"

echo "by pkg-config:"
export PKG_CONFIG_PATH="$libdir/pkgconfig"
[ "$(pkg-config --modversion weir)" = "$version" ] || fail "weir.pc has another version"
# shellcheck disable=SC2046 # the flags are words
cc -std=c17 -Wall -Wextra -Werror -o "$work/outside" "$here/outside.c" $(pkg-config --cflags --libs weir) \
    -Wl,-rpath,"$libdir"
judge "$work/outside"

echo "headers:"
for header in "$work/installed"/include/weir/*.h; do
    echo "#include <weir/$(basename "$header")>" |
        cc -std=c11 -Wall -Wextra -Werror -fsyntax-only -I"$work/installed/include" -xc - ||
        fail "$(basename "$header") does not compile alone"
done

if [ -x "$build/bin/weir" ]; then
    echo "command:"
    "$work/installed/bin/weir" version | grep -q "$version" || fail "the installed command weir does not run"
fi
echo "package: good"
