//! The text side: the tokenizer of the GGUF file and the model's chat format.

use candle::quantized::{gguf_file, tokenizer::TokenizerFromGguf};
use candle::{Error, Result};
use tokenizers::pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence};
use tokenizers::{PreTokenizerWrapper, Tokenizer};

/// Turns a question into tokens, and an answer's tokens into text.
pub struct Chat {
    tokenizer: Tokenizer,
    end: u32,
}

impl Chat {
    /// The tokenizer that `content` describes.
    pub fn new(content: &gguf_file::Content) -> Result<Self> {
        let mut tokenizer = Tokenizer::from_gguf(content)?;
        // candle takes GPT-2's rules for names that it does not know, such as this file's
        // `smollm`: those have every digit apart, and no space before the first word.
        let rules: [PreTokenizerWrapper; 2] =
            [Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(rules.into())));
        let end = "<|im_end|>";
        let end = tokenizer
            .token_to_id(end)
            .ok_or_else(|| Error::msg(format!("the tokenizer has no {end}")))?;
        Ok(Self { tokenizer, end })
    }

    /// `question` as the first turn of a conversation, up to where the answer begins.
    pub fn ask(&self, question: &str) -> Result<Vec<u32>> {
        let text = format!(
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n\
             <|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        );
        Ok(self.tokenizer.encode(text, false).map_err(Error::wrap)?.get_ids().to_vec())
    }

    /// Whether the answer ends with `token`.
    pub fn is_end(&self, token: u32) -> bool {
        token == self.end
    }

    /// The text of `tokens`.
    pub fn text(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, true).map_err(Error::wrap)
    }
}
