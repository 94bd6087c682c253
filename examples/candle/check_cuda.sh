#!/usr/bin/env bash
# Checks the feature `cuda` where no CUDA is installed. candle-kernels' build script wants nvcc; for
# type checking one will do that writes empty files.
set -euo pipefail
cd "$(dirname "$0")/../.."

# A folder of its own: a real build must not find the empty kernels.
target=target/check-cuda
mkdir -p "$target/bin"
cat >"$target/bin/nvcc" <<'NVCC'
#!/usr/bin/env bash
source="${*: -1}"
while [ $# -gt 0 ]; do
  case "$1" in
    -o) : >"$2" ;;
    --output-directory) : >"$2/$(basename "$source" .cu).ptx" ;;
  esac
  shift
done
NVCC
chmod +x "$target/bin/nvcc"

NVCC="$PWD/$target/bin/nvcc" CUDA_COMPUTE_CAP=80 cargo clippy --target-dir "$target" --locked \
  -p dynorm-candle --features cuda --all-targets -- -D warnings
