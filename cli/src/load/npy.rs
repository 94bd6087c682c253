//! NumPy's `.npy` format.

use super::Tensor;
use anyhow::{Context, Result, bail, ensure};
use dynorm::{bf16, f16};
use npyz::{DType, Deserialize, FixedSizeBytes, NpyFile, NpyHeader, Order, TypeChar};

/// Reads an array of floats. NumPy has no bfloat16: what ml_dtypes saves as such is marked as
/// two raw bytes (`|V2`), and is read as bf16.
pub fn read(bytes: &[u8], name: String) -> Result<Tensor> {
    let mut elements = bytes;
    let header = NpyHeader::from_reader(&mut elements).context("not a .npy file")?;
    let file = NpyFile::with_header(header, elements);
    ensure!(
        file.order() == Order::C,
        "the array is in Fortran order: save numpy.ascontiguousarray(x)"
    );
    let shape: Vec<usize> =
        file.shape().iter().map(|&n| usize::try_from(n)).collect::<Result<_, _>>()?;
    let DType::Plain(element) = file.dtype() else {
        bail!("the array has fields; an array of f16, bf16, f32 or f64 is needed");
    };
    let stored = element.to_string();
    // Before any memory is reserved for what the header promises.
    let promised = file.len().checked_mul(element.size_field());
    ensure!(
        promised.is_some_and(|promised| promised <= elements.len() as u64),
        "the file ends before its {} elements",
        file.len()
    );
    let values = match (element.type_char(), element.size_field()) {
        (TypeChar::Float, 2) => values(file, f16::to_f32)?,
        (TypeChar::Float, 4) => values(file, |x: f32| x)?,
        (TypeChar::Float, 8) => values(file, |x: f64| x as f32)?,
        (TypeChar::RawData, 2) => {
            values(file, |x: FixedSizeBytes<2>| bf16::from_le_bytes(x.0).to_f32())?
        }
        _ => bail!("the array's elements are {stored}; f16, bf16, f32 or f64 is needed"),
    };
    Ok(Tensor { name, stored, shape, values })
}

/// The whole array, each element as f32.
fn values<T: Deserialize>(file: NpyFile<&[u8]>, to_f32: impl Fn(T) -> f32) -> Result<Vec<f32>> {
    let read: Vec<T> = file.into_vec()?;
    Ok(read.into_iter().map(to_f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;

    /// An array of shape (2, 3) as NumPy writes it, its elements written by `push`.
    fn array<T: npyz::Serialize>(descr: &str, order: Order, elements: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = npyz::WriteOptions::new()
            .dtype(DType::Plain(descr.parse().unwrap()))
            .shape(&[2, 3])
            .order(order)
            .writer(&mut bytes)
            .begin_nd()
            .unwrap();
        for element in elements {
            writer.push(element).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    const X: [f32; 6] = [0.0, -1.5, 2.0, 1024.0, 0.25, -3.0];

    #[test]
    fn every_float_type_is_read() {
        let f64s = X.map(f64::from);
        let f16s = X.map(f16::from_f32);
        let bf16s = X.map(|x| FixedSizeBytes(bf16::from_f32(x).to_le_bytes()));
        let files = [
            array("<f4", Order::C, &X),
            array(">f4", Order::C, &X),
            array("<f8", Order::C, &f64s),
            array("<f2", Order::C, &f16s),
            array("|V2", Order::C, &bf16s),
        ];
        for bytes in files {
            let tensor = read(&bytes, "x".to_owned()).unwrap();
            assert_eq!((tensor.shape.as_slice(), tensor.values.as_slice()), (&[2, 3][..], &X[..]));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let whole = array("<f4", Order::C, &X);
        let refused = |bytes: &[u8]| format!("{:#}", read(bytes, "x".to_owned()).err().unwrap());
        assert!(refused(&whole[..whole.len() - 1]).contains("ends before its 6 elements"));
        assert!(refused(&whole[..20]).contains("not a .npy file"));
        assert!(refused(&array("<f4", Order::Fortran, &X)).contains("Fortran"));
        assert!(refused(&array("<i4", Order::C, &[1_i32; 6])).contains("elements are <i4"));
    }
}
