//! The `.safetensors` format.

use super::Tensor;
use anyhow::{Context, Result, bail, ensure};
use dynorm::{bf16, f16};
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};

/// What the names of tensors that are a layer's input end in. If a file has such tensors, the
/// others are taken for weights.
const INPUT: &str = ".input";
/// What the names of weights end in.
const WEIGHT: &str = ".weight";

/// An open file.
pub struct File<'a> {
    tensors: SafeTensors<'a>,
    /// The tensors' names in the order of their data.
    names: Vec<String>,
}

impl<'a> File<'a> {
    /// Checks the header.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let what = "not a .safetensors file";
        let tensors = SafeTensors::deserialize(bytes).context(what)?;
        let (_, header) = SafeTensors::read_metadata(bytes).context(what)?;
        Ok(Self { tensors, names: header.offset_keys() })
    }

    /// The tensors called `names`, or else every tensor called `….input`, or else every tensor
    /// of floats with rows.
    pub fn activations(&self, names: &[String]) -> Result<Vec<Tensor>> {
        let present = &self.names;
        if !names.is_empty() {
            return names
                .iter()
                .map(|name| {
                    let view = self.tensors.tensor(name).ok().with_context(|| {
                        format!("there is no tensor {name}; there are {}", present.join(", "))
                    })?;
                    tensor(name, &view)
                })
                .collect();
        }
        let marked = present.iter().any(|name| name.ends_with(INPUT));
        let mut tensors = Vec::new();
        for name in present {
            let view = self.tensors.tensor(name)?;
            let has_rows = view.shape().len() >= 2 && floats(&view).is_some();
            if if marked { name.ends_with(INPUT) } else { has_rows } {
                tensors.push(tensor(name, &view)?);
            }
        }
        ensure!(
            !tensors.is_empty(),
            "no tensor of f16, bf16, f32 or f64 with two or more dimensions; there are {}",
            present.join(", ")
        );
        Ok(tensors)
    }

    /// The weight beside the activations `name`: `a.weight` for `a.input`.
    pub fn weight_of(&self, name: &str) -> Option<Vec<f32>> {
        let layer = name.strip_suffix(INPUT)?;
        floats(&self.tensors.tensor(&format!("{layer}{WEIGHT}")).ok()?)
    }
}

fn tensor(name: &str, view: &TensorView) -> Result<Tensor> {
    let Some(values) = floats(view) else {
        bail!("tensor {name} is of {:?}; f16, bf16, f32 or f64 is needed", view.dtype());
    };
    Ok(Tensor {
        name: name.to_owned(),
        stored: format!("{:?}", view.dtype()),
        shape: view.shape().to_vec(),
        values,
    })
}

/// The elements as f32; `None` if they are no floats of a type that is read here.
fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let bytes = view.data();
    Some(match view.dtype() {
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}

/// Applies `read` to every `N` bytes.
fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f32; 6] = [0.0, -1.5, 2.0, 1024.0, 0.25, -3.0];

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn every_float_type_is_read() {
        let bytes = file(&[
            (
                "a",
                Dtype::F16,
                &[2, 3],
                X.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            ),
            (
                "b",
                Dtype::BF16,
                &[2, 3],
                X.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            ),
            ("c", Dtype::F32, &[2, 3], X.iter().flat_map(|&x| x.to_le_bytes()).collect()),
            (
                "d",
                Dtype::F64,
                &[2, 3],
                X.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect(),
            ),
            ("ids", Dtype::I64, &[1, 2], vec![0; 16]),
        ]);
        let tensors = File::open(&bytes).unwrap().activations(&[]).unwrap();
        assert_eq!(tensors.len(), 4, "the integers are left out");
        assert!(tensors.iter().all(|tensor| tensor.values == X && tensor.shape == [2, 3]));
    }

    #[test]
    fn weights_belong_to_inputs_by_name() {
        let row = || X[..3].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = file(&[
            ("n.input", Dtype::F32, &[1, 3], row()),
            ("n.weight", Dtype::F32, &[3], row()),
            ("other", Dtype::F32, &[1, 3], row()),
        ]);
        let file = File::open(&bytes).unwrap();
        let names: Vec<String> =
            file.activations(&[]).unwrap().into_iter().map(|tensor| tensor.name).collect();
        assert_eq!(names, ["n.input"]);
        assert_eq!(file.weight_of("n.input").unwrap(), X[..3]);
        assert_eq!(file.weight_of("other"), None);
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let bytes = file(&[("ids", Dtype::I64, &[1, 2], vec![0; 16])]);
        let file = File::open(&bytes).unwrap();
        let refused = |names: &[String]| format!("{:#}", file.activations(names).err().unwrap());
        assert!(refused(&["x".to_owned()]).contains("there is no tensor x; there are ids"));
        assert!(refused(&["ids".to_owned()]).contains("tensor ids is of I64"));
        assert!(refused(&[]).contains("no tensor of f16"));
    }
}
