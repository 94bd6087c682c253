//! The llama architecture over the tensors of a GGUF file, in f32.
//!
//! Quantised weights are expanded when they are loaded. Left as they are, candle would round
//! activations to 8 bits before each product, and whether one falls to this side or that would
//! hang on the last bits of a norm.

use crate::norm::{RmsNorm, Stopwatch};
use candle::quantized::gguf_file;
use candle::{D, Device, Module, Result, Tensor};
use candle_nn::Linear;
use candle_nn::kv_cache::KvCache;
use candle_nn::ops::{silu, softmax_last_dim};
use candle_nn::rotary_emb::rope_i;
use std::fs::File;

/// Tokens that a conversation may have.
const CONTEXT: usize = 512;

/// A model and the keys and values of what it has read.
pub struct Model {
    /// One row per token. It serves at the end, too, to get from channels to tokens.
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    rope: Rope,
    read: usize,
}

struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    feed_forward_norm: RmsNorm,
    feed_forward: FeedForward,
}

struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
    kv_heads: usize,
    cache: KvCache,
}

struct FeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// The angles' cosines and sines, as (position, pair of channels).
struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Model {
    /// Reads the weights from `file`, whose head is `content`.
    pub fn load(content: &gguf_file::Content, file: &mut File) -> Result<Self> {
        let mut source = Source { content, file, device: Device::Cpu };
        let eps = f64::from(source.value("llama.attention.layer_norm_rms_epsilon")?.to_f32()?);
        let blocks = source.value("llama.block_count")?.to_u32()?;
        Ok(Self {
            embedding: source.tensor("token_embd")?,
            blocks: (0..blocks).map(|i| Block::load(&mut source, i, eps)).collect::<Result<_>>()?,
            norm: source.norm("output_norm", eps)?,
            rope: Rope::new(
                source.value("llama.rope.dimension_count")?.to_u32()?,
                source.value("llama.rope.freq_base")?.to_f32()?,
                &source.device,
            )?,
            read: 0,
        })
    }

    /// Forgets what it has read.
    pub fn reset(&mut self) {
        self.read = 0;
        self.blocks.iter_mut().for_each(|block| block.attention.cache.reset());
    }

    /// Reads `tokens`, and gives the logits of the token that follows.
    pub fn forward(&mut self, tokens: &[u32], watch: &mut Stopwatch) -> Result<Vec<f32>> {
        let count = tokens.len();
        let rope = self.rope.at(self.read, count)?;
        let mask = causal_mask(self.read, count)?;
        let tokens = Tensor::new(tokens, &Device::Cpu)?;
        let mut x = self.embedding.index_select(&tokens, 0)?.unsqueeze(0)?;
        let mut branch = None;
        for block in &mut self.blocks {
            let (sum, next) = block.forward(&x, branch.as_ref(), &rope, mask.as_ref(), watch)?;
            (x, branch) = (sum, Some(next));
        }
        self.read += count;
        let normed = normed(&self.norm, &x, branch.as_ref(), watch)?.1;
        let last = normed.narrow(1, count - 1, 1)?.squeeze(0)?;
        last.matmul(&self.embedding.t()?)?.flatten_all()?.to_vec1()
    }
}

impl Block {
    fn load(source: &mut Source, index: u32, eps: f64) -> Result<Self> {
        let name = |part: &str| format!("blk.{index}.{part}");
        Ok(Self {
            attention_norm: source.norm(&name("attn_norm"), eps)?,
            attention: Attention {
                query: source.matrix(&name("attn_q"))?,
                key: source.matrix(&name("attn_k"))?,
                value: source.matrix(&name("attn_v"))?,
                output: source.matrix(&name("attn_output"))?,
                heads: source.value("llama.attention.head_count")?.to_u32()? as usize,
                kv_heads: source.value("llama.attention.head_count_kv")?.to_u32()? as usize,
                cache: KvCache::new(2, CONTEXT),
            },
            feed_forward_norm: source.norm(&name("ffn_norm"), eps)?,
            feed_forward: FeedForward {
                gate: source.matrix(&name("ffn_gate"))?,
                up: source.matrix(&name("ffn_up"))?,
                down: source.matrix(&name("ffn_down"))?,
            },
        })
    }

    /// `x` is (1, tokens, channels), and what the block before adds to it. Gives their sum with what attention adds,
    /// and what this block adds to that.
    fn forward(
        &mut self,
        x: &Tensor,
        before: Option<&Tensor>,
        rope: &Rope,
        mask: Option<&Tensor>,
        watch: &mut Stopwatch,
    ) -> Result<(Tensor, Tensor)> {
        let (x, normed) = normed(&self.attention_norm, x, before, watch)?;
        let attended = self.attention.forward(&normed, rope, mask)?;
        let (x, normed) = self.feed_forward_norm.add_forward(&attended, &x, watch)?;
        Ok((x, self.feed_forward.forward(&normed)?))
    }
}

/// `x` with what the block before adds to it, and RMSNorm of that.
fn normed(
    norm: &RmsNorm,
    x: &Tensor,
    before: Option<&Tensor>,
    watch: &mut Stopwatch,
) -> Result<(Tensor, Tensor)> {
    match before {
        Some(before) => norm.add_forward(before, x, watch),
        None => Ok((x.clone(), norm.forward(x, watch)?)),
    }
}

impl Attention {
    /// Attention to all that has been read, each head of keys and values serving several of
    /// queries.
    fn forward(&mut self, x: &Tensor, rope: &Rope, mask: Option<&Tensor>) -> Result<Tensor> {
        let (_, tokens, channels) = x.dims3()?;
        // (1, heads, tokens, channels of a head)
        let split = |x: Tensor, heads: usize| {
            x.reshape((1, tokens, heads, ()))?.transpose(1, 2)?.contiguous()
        };
        let query = rope.rotate(&split(self.query.forward(x)?, self.heads)?)?;
        let key = rope.rotate(&split(self.key.forward(x)?, self.kv_heads)?)?;
        let value = split(self.value.forward(x)?, self.kv_heads)?;
        let (key, value) = self.cache.append(&key, &value)?;
        let head_channels = query.dim(D::Minus1)? as f64;

        // The queries that share a head of keys lie below one another.
        let grouped = query.reshape((1, self.kv_heads, (), channels / self.heads))?;
        let scores = (grouped.matmul(&key.t()?.contiguous()?)? / head_channels.sqrt())?;
        let scores = match mask {
            Some(mask) => scores
                .reshape((1, self.heads, tokens, ()))?
                .broadcast_add(mask)?
                .reshape(scores.shape())?,
            None => scores,
        };
        let shares = softmax_last_dim(&scores)?;
        let mixed = shares.matmul(&value.contiguous()?)?.reshape((1, self.heads, tokens, ()))?;
        self.output.forward(&mixed.transpose(1, 2)?.reshape((1, tokens, channels))?)
    }
}

impl FeedForward {
    /// SwiGLU.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = silu(&self.gate.forward(x)?)?;
        self.down.forward(&(gate * self.up.forward(x)?)?)
    }
}

impl Rope {
    fn new(channels: u32, base: f32, device: &Device) -> Result<Self> {
        let pairs = channels / 2;
        let angles: Vec<f64> = (0..CONTEXT)
            .flat_map(|position| {
                (0..pairs).map(move |pair| {
                    position as f64 * f64::from(base).powf(-f64::from(pair) / f64::from(pairs))
                })
            })
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values = angles.iter().map(|&angle| f(angle) as f32).collect();
            Tensor::from_vec(values, (CONTEXT, pairs as usize), device)
        };
        Ok(Self { cos: table(f64::cos)?, sin: table(f64::sin)? })
    }

    /// The angles of `count` positions from `first` on.
    fn at(&self, first: usize, count: usize) -> Result<Self> {
        let rows = |table: &Tensor| table.narrow(0, first, count);
        Ok(Self { cos: rows(&self.cos)?, sin: rows(&self.sin)? })
    }

    /// Turns each pair of channels 2i and 2i + 1, which is the order of GGUF.
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        rope_i(x, &self.cos, &self.sin)
    }
}

/// What keeps `tokens` tokens, read after `read` others, from attending to later ones.
/// A single token has none.
fn causal_mask(read: usize, tokens: usize) -> Result<Option<Tensor>> {
    if tokens == 1 {
        return Ok(None);
    }
    let seen = read + tokens;
    let mask = (0..tokens)
        .flat_map(|i| (0..seen).map(move |j| if j > read + i { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (tokens, seen), &Device::Cpu).map(Some)
}

/// The file that weights come from.
struct Source<'a> {
    content: &'a gguf_file::Content,
    file: &'a mut File,
    device: Device,
}

impl Source<'_> {
    fn value(&self, name: &str) -> Result<&gguf_file::Value> {
        match self.content.metadata.get(name) {
            Some(value) => Ok(value),
            None => candle::bail!("the file has no {name}"),
        }
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let name = format!("{name}.weight");
        self.content.tensor(self.file, &name, &self.device)?.dequantize(&self.device)
    }

    fn matrix(&mut self, name: &str) -> Result<Linear> {
        Ok(Linear::new(self.tensor(name)?, None))
    }

    fn norm(&mut self, name: &str, eps: f64) -> Result<RmsNorm> {
        Ok(RmsNorm::new(self.tensor(name)?, eps))
    }
}
