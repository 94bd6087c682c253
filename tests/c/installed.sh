#!/usr/bin/env bash
# Uses an installation as a program's build would: tests/c/installed.sh PREFIX
# It takes a C compiler, pkg-config and CMake. DYNORM_HAS_CUDA=1 says that the library has CUDA.
set -euo pipefail
prefix=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$*"; }

# One program, minimal.c, whose second row is 2 divided by its root mean square, times the weight.
wanted='1.0000 1.0000 0.5000 0.5000'
runs() {
  local printed
  printed=$("$@")
  [ "$printed" = "$wanted" ] || { say "$1 printed $printed"; exit 1; }
}

pc=$(find "$prefix" -name dynorm.pc)
libraries=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH=${pc%/*}
version=$(pkg-config --modversion dynorm)

# shellcheck disable=SC2046
cc "$here/minimal.c" -o "$work/shared" $(pkg-config --cflags --libs dynorm)
runs env LD_LIBRARY_PATH="$libraries" "$work/shared"
# shellcheck disable=SC2046
cc "$here/minimal.c" -o "$work/static" $(pkg-config --cflags dynorm) \
  "$libraries/libdynorm.a" $(pkg-config --libs-only-l --static dynorm | sed 's/-ldynorm//')
runs "$work/static"
# shellcheck disable=SC2046
cc "$here/cuda.c" -D"DYNORM_HAS_CUDA=${DYNORM_HAS_CUDA:-0}" -o "$work/cuda" $(pkg-config --cflags --libs dynorm)
LD_LIBRARY_PATH="$libraries" "$work/cuda"
say "pkg-config: dynorm $version, shared and static"

# The shared library's name says how far it may be replaced: by the minor version before 1.0.
case $version in
  0.*) abi=$(cut -d. -f1-2 <<<"$version") ;;
  *) abi=$(cut -d. -f1 <<<"$version") ;;
esac
readelf -d "$work/shared" | grep -q "NEEDED.*\[libdynorm.so.$abi\]"
say "soname: libdynorm.so.$abi"

cmake -S "$here/cmake" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DDYNORM_WANTED="$version" >"$work/log" ||
  { cat "$work/log"; exit 1; }
cmake --build "$work/cmake" >"$work/log" || { cat "$work/log"; exit 1; }
runs "$work/cmake/shared"
runs "$work/cmake/static"
if cmake -S "$here/cmake" -B "$work/later" -DCMAKE_PREFIX_PATH="$prefix" -DDYNORM_WANTED=99.0 >"$work/log" 2>&1; then
  say "CMake found version 99.0"
  exit 1
fi
say "CMake: dynorm::dynorm and dynorm::dynorm_static"
