//! Element types of tensors.

use half::{bf16, f16};

/// The type of a tensor's elements. Arithmetic is in f32 whatever the type; it matters on
/// load (exact) and on store (rounded once, to nearest even).
///
/// ```
/// use dynorm::{Element, ElementType, bf16};
/// assert_eq!(bf16::TYPE, ElementType::Bf16);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl ElementType {
    /// Every element type.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one element.
    ///
    /// ```
    /// assert_eq!(dynorm::ElementType::F16.size(), 2);
    /// ```
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The type's usual short name: `f32`, `f16` or `bf16`.
    ///
    /// ```
    /// assert_eq!(dynorm::ElementType::Bf16.name(), "bf16");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// A type that tensors can be made of: `f32`, [`f16`](struct@f16) or [`bf16`].
///
/// ```
/// fn bytes<T: dynorm::Element>(values: &[T]) -> usize {
///     values.len() * T::TYPE.size()
/// }
/// assert_eq!(bytes(&[0.0_f32; 3]), 12);
/// ```
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its run-time name.
    const TYPE: ElementType;
}

impl Element for f32 {
    const TYPE: ElementType = ElementType::F32;
}
impl Element for f16 {
    const TYPE: ElementType = ElementType::F16;
}
impl Element for bf16 {
    const TYPE: ElementType = ElementType::Bf16;
}
