//! Activations: rows of channels, from a file or the ones that are shipped.

mod npy;
mod safetensors;

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The activations that `compare` uses unless it is given others; see `data/README.md`.
const SHIPPED: &[u8] = include_bytes!("../../data/smollm2_rmsnorm_inputs.safetensors");
/// What reports call them.
const SHIPPED_NAME: &str = "SmolLM2-135M-Instruct, inputs of five RMSNorms (shipped)";

/// The inputs of one or more norms with the same number of channels.
#[derive(Debug)]
pub struct Activations {
    /// Where they are from, for people.
    pub source: String,
    /// Channels of every row.
    pub channels: usize,
    /// The norms, in the order of the file; at least one.
    pub layers: Vec<Layer>,
}

/// The input of one norm.
#[derive(Debug)]
pub struct Layer {
    /// The tensor's name, or the file's.
    pub name: String,
    /// The element type that the file stores, as the file's format calls it.
    pub stored: String,
    /// Row after row; finite; at least one row.
    pub values: Vec<f32>,
    /// The norm's own weight, one value a channel, where the file has it.
    pub weight: Option<Vec<f32>>,
}

impl Activations {
    /// Every layer's rows, one after the other.
    pub fn all_values(&self) -> Vec<f32> {
        self.layers.iter().flat_map(|layer| &layer.values).copied().collect()
    }

    /// The number of rows of all layers.
    pub fn rows(&self) -> usize {
        self.layers.iter().map(|layer| layer.values.len() / self.channels).sum()
    }

    /// The largest magnitude.
    pub fn max_magnitude(&self) -> f32 {
        self.layers.iter().flat_map(|layer| &layer.values).fold(0.0, |max, x| max.max(x.abs()))
    }
}

/// One tensor as a file holds it.
struct Tensor {
    name: String,
    stored: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Where activations come from.
#[derive(clap::Args)]
pub struct Source {
    /// Activations: a .npy file of shape (…, channels), or a .safetensors file. Default: the
    /// inputs of five RMSNorms of SmolLM2-135M-Instruct, which are part of the program
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A tensor of a .safetensors file; may be repeated. Default: all called *.input (each with
    /// its weight *.weight), or else all of two or more dimensions
    #[arg(long, value_name = "NAME")]
    tensor: Vec<String>,
}

impl Source {
    /// Reads them.
    pub fn load(&self) -> Result<Activations> {
        load(self.input.as_deref(), &self.tensor)
    }
}

/// Reads `input`, or the shipped file; of a `.safetensors` file, the tensors called `names` if
/// any are.
fn load(input: Option<&Path>, names: &[String]) -> Result<Activations> {
    let Some(path) = input else {
        return from_safetensors(SHIPPED, names, SHIPPED_NAME.to_owned());
    };
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let source = path.display().to_string();
    let stem = path.file_stem().map_or(source.clone(), |stem| stem.to_string_lossy().into_owned());
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    match extension.as_deref().and_then(|extension| extension.to_str()) {
        Some("npy") => {
            ensure!(
                names.is_empty(),
                "a .npy file has one tensor without a name: leave out --tensor"
            );
            npy::read(&bytes, stem).and_then(|tensor| activations(vec![tensor], |_| None, source))
        }
        Some("safetensors") => from_safetensors(&bytes, names, source),
        _ => bail!("the name must end in .npy or .safetensors"),
    }
    .with_context(|| path.display().to_string())
}

fn from_safetensors(bytes: &[u8], names: &[String], source: String) -> Result<Activations> {
    let file = safetensors::File::open(bytes)?;
    let tensors = file.activations(names)?;
    activations(tensors, |name| file.weight_of(name), source)
}

/// Puts tensors together; `weight_of` gives the weight that belongs to a tensor by its name.
fn activations(
    tensors: Vec<Tensor>,
    weight_of: impl Fn(&str) -> Option<Vec<f32>>,
    source: String,
) -> Result<Activations> {
    let channels = tensors.first().and_then(|tensor| tensor.shape.last()).copied().unwrap_or(0);
    for Tensor { name, shape, values, .. } in &tensors {
        ensure!(!values.is_empty(), "tensor {name} of shape {shape:?} has no rows of channels");
        ensure!(
            shape.last() == Some(&channels),
            "tensor {name} has shape {shape:?}, the first one {channels} channels: \
             choose tensors of the same last dimension with --tensor"
        );
        let lost = values.iter().filter(|x| !x.is_finite()).count();
        ensure!(lost == 0, "tensor {name} has {lost} values that are NaN or infinite as f32");
        ensure!(values.iter().any(|&x| x != 0.0), "tensor {name} is all zeros: nothing to compare");
    }
    let layers = tensors.into_iter().map(|Tensor { name, stored, values, .. }| {
        let weight = weight_of(&name).filter(|weight| weight.len() == channels);
        Layer { name, stored, values, weight }
    });
    Ok(Activations { source, channels, layers: layers.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_activations_are_five_norms_with_weights() {
        let shipped = load(None, &[]).unwrap();
        assert_eq!((shipped.layers.len(), shipped.channels, shipped.rows()), (5, 576, 320));
        assert!(shipped.layers.iter().all(|layer| layer.weight.is_some() && layer.stored == "F16"));
        // The attention sink: one token of one layer holds the largest value by far.
        assert!(shipped.max_magnitude() > 20_000.0);
    }

    #[test]
    fn a_tensor_is_chosen_by_name() {
        let one = load(None, &["output_norm.input".to_owned()]).unwrap();
        assert_eq!(one.layers[0].name, "output_norm.input");
        assert_eq!(one.rows(), 64);
    }

    #[test]
    fn files_that_are_none_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            format!("{:#}", load(Some(&path), &[]).unwrap_err())
        };
        assert!(refused("x.txt", b"1 2 3").contains("must end in .npy or .safetensors"));
        assert!(refused("x.npy", b"not an array").contains("not a .npy file"));
        assert!(refused("x.safetensors", b"short").contains("not a .safetensors file"));
        assert!(refused("cut.safetensors", &SHIPPED[..5000]).contains("not a .safetensors file"));
        let missing = load(Some(&folder.path().join("none.npy")), &[]).unwrap_err();
        assert!(format!("{missing:#}").contains("cannot read"));
    }
}
