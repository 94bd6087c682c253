#!/usr/bin/env bash
# Runs the tests for aarch64 on another machine, under qemu's emulation: they show what is right, not what is fast.
#
#     apt-get install --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
#     scripts/test_aarch64.sh [cargo's arguments, instead of TESTS below]
#
# With rustup, `rustup target add aarch64-unknown-linux-gnu` gives the standard library for it; where there is none, it is
# made here, with curl and xz, from Debian's package of the sources of the compiler's own version. Programs are started by a
# binfmt_misc in a user namespace, which Linux has from 6.7 on.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
work=$PWD/target/aarch64
TESTS=(test -p dynorm --lib)
# Not those that compile C, look at x86 assembly, or have a GPU emulated.
for test in accuracy backward dispatch errors fused gate heads identity invariance lanes memory properties quantized \
  residual rounding shapes short special_values statistics; do
  TESTS+=(--test "$test")
done

# Makes the standard library in $work/sysroot.
make_standard_library() {
  local version mirror=http://deb.debian.org/debian suite file="" sum="" library
  version=$(rustc --version | cut -d' ' -f2)
  library=$work/sysroot/lib/rustlib/$target/lib
  [ ! -e "$work/sysroot/$version" ] || return 0
  mkdir -p "$library"
  for suite in trixie-backports sid forky trixie; do
    read -r file sum < <(curl -fsS "$mirror/dists/$suite/main/binary-amd64/Packages.xz" | xz -dc |
      awk -v RS= -v version="$version" '
        function field(name) {
          match($0, "\n" name ": [^\n]*")
          return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3)
        }
        /^Package: rust-src\n/ && index($0, "\nVersion: " version "+") { print field("Filename"), field("SHA256") }') || true
    [ -z "$file" ] || break
  done
  [ -n "$file" ] || { echo "Debian has no rust-src $version" >&2; return 1; }
  curl -fsS -o "$work/rust-src.deb" "$mirror/$file"
  echo "$sum  $work/rust-src.deb" | sha256sum --check --quiet
  dpkg-deb -x "$work/rust-src.deb" "$work/rust-src"
  mkdir -p "$work/empty/src"
  : > "$work/empty/src/lib.rs"
  printf '[package]\nname = "empty"\nedition = "2024"\n[workspace]\n' > "$work/empty/Cargo.toml"
  # cargo's own tests name the sources so; the compiler is a stable one.
  (cd "$work/empty" && RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/std \
    __CARGO_TESTS_ONLY_SRC_ROOT=$work/rust-src/usr/src/rustc-$version/library \
    cargo build --quiet --release --target $target -Zbuild-std=std,panic_abort,test)
  cp "$work/std/$target/release/deps/"*.rlib "$library/"
  rm "$library"/libempty-*
  touch "$work/sysroot/$version"
}

if [ -e "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  flags=""
else
  make_standard_library
  flags="--sysroot $work/sysroot"
fi
export CARGO_BUILD_TARGET=$target CARGO_TARGET_DIR=$work
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu
[ $# -gt 0 ] || set -- "${TESTS[@]}"
# Programs of that architecture start as if they were of this one, within a namespace: some tests start themselves.
exec unshare --user --map-root-user --mount bash -c '
  mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
  magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
  mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
  printf "%s" ":aarch64:M::$magic:$mask:$(command -v qemu-aarch64):" > /proc/sys/fs/binfmt_misc/register
  exec cargo "$@"' - "$@"
