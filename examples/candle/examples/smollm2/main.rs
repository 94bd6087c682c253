//! SmolLM2-135M-Instruct answers a question, with candle's RMSNorm, with dynorm's, and with dynorm's that adds the residual,
//! too: the same tokens, and the time that each spends in it. `run.sh` gets the model and calls this.

mod chat;
mod model;
mod norm;

use candle::quantized::gguf_file;
use candle::{Error, Result};
use chat::Chat;
use model::Model;
use norm::{Library, Stopwatch};
use std::fs::File;
use std::time::{Duration, Instant};

/// The longest answer, in tokens.
const ANSWER: usize = 64;
/// Answers by each library, in turns.
const REPEATS: usize = 5;
const QUESTION: &str = "Every spring the river rises, and the people of the valley carry their boats \
    up from the barns. For a few weeks the fields are lakes, and the children go to school by \
    water. When the flood is gone, it leaves behind a thin layer of dark mud, and nothing in the \
    valley grows as well as the wheat that is sown in it. What is good about the flood?";

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| Error::msg("usage: smollm2 MODEL.gguf"))?;
    let mut file = File::open(&path).map_err(|error| Error::from(error).with_path(&path))?;
    let content = gguf_file::Content::read(&mut file)?;
    let chat = Chat::new(&content)?;
    let mut model = Model::load(&content, &mut file)?;
    let question = chat.ask(QUESTION)?;

    // What all others are compared with; it also warms the machine up.
    let first = answer(&mut model, &chat, &question, Library::Candle)?;
    let mut runs = Library::ALL.map(|_| vec![]);
    for _ in 0..REPEATS {
        for (library, runs) in Library::ALL.into_iter().zip(&mut runs) {
            let run = answer(&mut model, &chat, &question, library)?;
            if run.tokens != first.tokens {
                return Err(Error::msg(difference(&first, &run, library)));
            }
            runs.push(run);
        }
    }
    println!("{}\n", chat.text(&first.tokens)?);
    report(question.len(), &runs);
    Ok(())
}

/// An answer, and how long it took.
struct Run {
    tokens: Vec<u32>,
    /// How far each token's logit was ahead of the next best.
    leads: Vec<f32>,
    prefill: Times,
    /// Of each token behind the first.
    decode: Vec<Times>,
}

/// The time of a pass, and the part of it that went into RMSNorm and the additions before it.
#[derive(Clone, Copy)]
struct Times {
    all: Duration,
    norms: Duration,
}

/// The most likely answer, token by token.
fn answer(model: &mut Model, chat: &Chat, question: &[u32], library: Library) -> Result<Run> {
    let mut watch = Stopwatch::new(library);
    let mut pass = |tokens: &[u32]| {
        let start = Instant::now();
        let logits = model.forward(tokens, &mut watch)?;
        Result::Ok((best(&logits), Times { all: start.elapsed(), norms: watch.take() }))
    };
    let ((token, lead), prefill) = pass(question)?;
    let mut run = Run { tokens: vec![token], leads: vec![lead], prefill, decode: vec![] };
    let mut last = token;
    while run.tokens.len() < ANSWER && !chat.is_end(last) {
        let ((token, lead), times) = pass(&[last])?;
        last = token;
        run.tokens.push(token);
        run.leads.push(lead);
        run.decode.push(times);
    }
    model.reset();
    Ok(run)
}

/// The token of the largest logit, and how far it is ahead of the next.
fn best(logits: &[f32]) -> (u32, f32) {
    let (mut token, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (candidate, &logit) in (0..).zip(logits) {
        if logit > first {
            (token, second, first) = (candidate, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    (token, first - second)
}

fn difference(first: &Run, run: &Run, library: Library) -> String {
    let at = first.tokens.iter().zip(&run.tokens).take_while(|(a, b)| a == b).count();
    format!(
        "with {library:?} the answers differ from token {at} on, which was {:?} ahead of the next best",
        first.leads.get(at)
    )
}

fn report(question: usize, runs: &[Vec<Run>; 3]) {
    let answer = &runs[0][0];
    let lead = answer.leads.iter().copied().fold(f32::INFINITY, f32::min);
    println!(
        "The same {} tokens with each, {REPEATS} times each; every one at least {lead:.4} ahead of the next best.",
        answer.tokens.len(),
    );
    println!("{:26}{:>12}{:>12}{:>8}", "Medians", "in norms", "in all", "share");
    print_medians(&format!("reading {question} tokens"), runs.each_ref().map(|runs| prefill(runs)));
    print_medians("writing a token", runs.each_ref().map(|runs| decode(runs)));
}

fn print_medians(what: &str, times: [Vec<Times>; 3]) {
    println!("{what}");
    for (library, times) in Library::ALL.into_iter().zip(times) {
        let name = library.name();
        let norms = median(times.iter().map(|times| times.norms));
        let all = median(times.iter().map(|times| times.all));
        println!("  {name:24}{norms:>9.1} µs{all:>9.0} µs{:>7.2}%", 100.0 * norms / all);
    }
}

fn prefill(runs: &[Run]) -> Vec<Times> {
    runs.iter().map(|run| run.prefill).collect()
}

fn decode(runs: &[Run]) -> Vec<Times> {
    runs.iter().flat_map(|run| run.decode.iter().copied()).collect()
}

/// In microseconds.
fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
