#!/usr/bin/env bash
# Gets and builds ggml, and runs dynorm in its graphs beside its own norms.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$PWD/target/ggml
mkdir -p "$work/sources/src"

# The crate llama-cpp-sys-2 carries ggml's sources (MIT). Cargo fetches it as the dependency of a
# package that is never built.
cat >"$work/sources/Cargo.toml" <<'MANIFEST'
[package]
name = "sources"
version = "0.0.0"
edition = "2024"

[dependencies]
llama-cpp-sys-2 = "=0.1.161"

[workspace]
MANIFEST
touch "$work/sources/src/lib.rs"
manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/sources/Cargo.toml" |
  python3 -c 'import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "llama-cpp-sys-2":
        print(package["manifest_path"])')
ggml=$(dirname "$manifest")/llama.cpp/ggml

if ! command -v cmake >/dev/null; then
  python3 -m venv "$work/python"
  "$work/python/bin/pip" install --quiet --disable-pip-version-check cmake==4.4.4
  PATH=$work/python/bin:$PATH
fi

# One that is installed already saves building it.
library=${DYNORM_STATIC_LIBRARY:-$PWD/target/release/libdynorm.a}
if [ -z "${DYNORM_STATIC_LIBRARY:-}" ]; then
  cargo rustc --release --locked -p dynorm --lib --features capi --crate-type staticlib
fi
cmake -S examples/ggml -B "$work/build" -DCMAKE_BUILD_TYPE=Release \
  -DGGML_SOURCE="$ggml" -DDYNORM_LIBRARY="$library"
cmake --build "$work/build" --target minimal norms --parallel "$(nproc)"
"$work/build/minimal"
"$work/build/norms"
