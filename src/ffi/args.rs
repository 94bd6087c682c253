//! The structs of the header, and how they are read.

use super::enums::{
    Enum, dynorm_element, dynorm_flag, dynorm_function, dynorm_isa, dynorm_scale, known,
};
use super::refusal::Refusal;
use super::statistics::dynorm_row_statistics;
use crate::{Isa, Norm};
use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

/// A function and its parameters, dimensionless f32 scalars as the papers name them. Those that
/// the function does not use are not looked at. `dynorm_rms_norm()` and its like fill one in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynorm_norm {
    /// Which function.
    pub function: MaybeUninit<dynorm_function>,
    /// RMSNorm and LayerNorm: added to the mean square or the variance; finite and at least 0.
    pub eps: f32,
    /// DyT and Derf: the slope of the argument; finite.
    pub alpha: f32,
    /// DyISRU: the scalar under the root; finite and above 0.
    pub beta: f32,
    /// DyISRU: 1 in trained models, sqrt(channels) in the paper; finite.
    pub scale: f32,
    /// Derf: added to the argument; finite.
    pub shift: f32,
    /// Must be 0.
    pub reserved: [u32; 2],
}

impl dynorm_norm {
    /// A function with parameters that it takes, for where they do not matter.
    #[cfg(feature = "cuda")]
    pub(super) fn any(
        what: &'static str,
        function: MaybeUninit<dynorm_function>,
    ) -> Result<Norm, Refusal> {
        let (eps, alpha, beta, scale, shift) = (1.0, 1.0, 1.0, 1.0, 1.0);
        Self { function, eps, alpha, beta, scale, shift, reserved: [0; 2] }.norm(what)
    }

    pub(super) fn read(&self) -> Result<Norm, Refusal> {
        if self.reserved != [0; 2] {
            return Err(Refusal::Later { what: "args.norm.reserved" });
        }
        self.norm("args.norm.function")
    }

    fn norm(&self, what: &'static str) -> Result<Norm, Refusal> {
        Ok(self.of(known(what, self.function)?))
    }

    /// `function` with its parameters.
    #[inline]
    pub(super) fn of(&self, function: dynorm_function) -> Norm {
        let Self { eps, alpha, beta, scale, shift, .. } = *self;
        match function {
            dynorm_function::DYNORM_RMS_NORM => Norm::RmsNorm { eps },
            dynorm_function::DYNORM_LAYER_NORM => Norm::LayerNorm { eps },
            dynorm_function::DYNORM_DYT => Norm::DyT { alpha },
            dynorm_function::DYNORM_DYISRU => Norm::DyIsru { beta, scale },
            dynorm_function::DYNORM_DERF => Norm::Derf { alpha, shift },
        }
    }
}

/// A call over `rows` rows of `channels` elements that lie side by side. For each element
/// `y = ((weight_offset + weight) * f(x) + bias) * silu(z)`, with f the function, in f32 and rounded
/// once to the type of y; without z, there is no silu(z). With a residual, f is taken of the sum of
/// x and it. The types of the tensors may differ.
///
/// Fields that are left at 0 have their default. Later versions of the library may add fields at
/// the end, whose default will be 0, too: `size` tells them which of them the caller knows.
///
/// Everything stays the caller's, and nothing is kept: the struct is not needed after the call,
/// nor are the tensors, on the CPU. In CUDA calls all that the fields point at is device memory,
/// scales and statistics too, and is needed until the stream has come past the call.
///
/// In place means that x and y are the same address, with the same strides and elements of the same
/// size; or residual and residual_sum. Any other overlap of what is written (y, the residual or its
/// sum, computed scales) with what is read or written is refused. Rows of two tensors may lie between
/// each other, as columns of one matrix do, if the tensors have no element in common and the same
/// strides; heads of one token may not.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct dynorm_forward_args {
    /// `sizeof(dynorm_forward_args)`.
    pub size: usize,
    /// The function and its parameters.
    pub norm: dynorm_norm,
    /// Rows, those of all heads. 0 is allowed, and nothing is done: no address is looked at then.
    pub rows: usize,
    /// Elements of a row; at least 1.
    pub channels: usize,
    /// Input, aligned to its element; only read.
    pub x: *const c_void,
    /// Output, aligned to its element. What lies between its rows is neither read nor written.
    pub y: *mut c_void,
    /// Elements from the begin of a row of x to the begin of the next (of the next head, with
    /// heads), at least `channels`. 0 for `channels`.
    pub x_row_stride: usize,
    /// The same of y.
    pub y_row_stride: usize,
    /// The type of x; none of 8 bits.
    pub x_element: MaybeUninit<dynorm_element>,
    /// The type of y. Those of 8 bits need a `scale_mode`.
    pub y_element: MaybeUninit<dynorm_element>,
    /// One factor per channel, side by side, aligned to its element. NULL for none.
    pub weight: *const c_void,
    /// One summand per channel, side by side, aligned to its element. NULL for none.
    pub bias: *const c_void,
    /// The type of weight; not looked at without one.
    pub weight_element: MaybeUninit<dynorm_element>,
    /// The type of bias; not looked at without one.
    pub bias_element: MaybeUninit<dynorm_element>,
    /// Added to every weight, in f32; finite. 1 for models that store weight - 1 (Gemma). It has no
    /// effect without a weight.
    pub weight_offset: f32,
    /// The CPU's instructions. CUDA calls do not look at it.
    pub isa: MaybeUninit<dynorm_isa>,
    /// Values of `dynorm_flag`, combined by `|`.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Added to x in f32, rounded to its own type, and written back; the function is taken of that
    /// sum. As many rows as x, aligned to its element. NULL for none.
    pub residual: *mut c_void,
    /// Where the sum goes instead: as many rows, of the type of residual, which is only read then.
    /// NULL for in place. It needs a residual.
    pub residual_sum: *mut c_void,
    /// As x_row_stride; not looked at without a residual.
    pub residual_row_stride: usize,
    /// As x_row_stride; not looked at without a residual_sum.
    pub residual_sum_row_stride: usize,
    /// The gate: the result is multiplied by `silu(z) = z / (1 + exp(-z))`, element by element,
    /// before it is rounded. As many rows as x, aligned to its element. NULL for none.
    pub z: *const c_void,
    /// As x_row_stride; not looked at without z.
    pub z_row_stride: usize,
    /// The type of residual and residual_sum; not looked at without them.
    pub residual_element: MaybeUninit<dynorm_element>,
    /// The type of z; not looked at without it.
    pub z_element: MaybeUninit<dynorm_element>,
    /// Heads of a token, the same in all tensors; `rows` is a multiple of it. Row `token * heads +
    /// head` begins `token * token_stride + head * row_stride` elements behind the first, so that q
    /// or k can be taken from a packed qkv. 0 for rows that are all one row stride apart; token
    /// strides are not looked at then.
    pub heads: usize,
    /// Elements from the begin of a token of x to the begin of the next. 0 for `heads` row strides.
    pub x_token_stride: usize,
    /// The same of y.
    pub y_token_stride: usize,
    /// The same of residual.
    pub residual_token_stride: usize,
    /// The same of residual_sum.
    pub residual_sum_token_stride: usize,
    /// The same of z.
    pub z_token_stride: usize,
    /// The scales of a y of 8 bits, one, or one for each row or group, as `scale_mode` says, aligned. Not
    /// looked at without that. In CUDA calls they are device memory, a single one too.
    pub scales: *mut f32,
    /// Where the scales come from. 0, DYNORM_SCALE_NONE, if and only if y has more than 8 bits.
    pub scale_mode: MaybeUninit<dynorm_scale>,
    /// Channels of a group, with DYNORM_SCALE_COMPUTED_PER_GROUP: 1 to 4096. Else 0.
    pub scale_group_size: u32,
    /// What RMSNorm and LayerNorm need to know of each row, one for each, aligned to 4 bytes, for
    /// rows that are known in shards only. NULL to find it in the rows. The other functions take
    /// none.
    pub statistics: *const dynorm_row_statistics,
}

/// A struct that begins with its size, in `size_t`, and of which every field takes any bytes.
pub(super) trait Args {
    /// Its name in C.
    const NAME: &'static str;
    /// Its size in the first version of the header that had it.
    const OLDEST: usize;
    /// What a field is called that a later version has.
    const LATER: &'static str;
}

impl Args for dynorm_forward_args {
    const NAME: &'static str = "dynorm_forward_args";
    const OLDEST: usize = offset_of!(dynorm_forward_args, reserved) + size_of::<u32>();
    const LATER: &'static str = "a field behind the end of dynorm_forward_args";
}

/// More than any version's size.
const TOO_LARGE: usize = 4096;

/// What C gives, if its header is of this version.
///
/// # Safety
/// As [`read`].
#[inline(always)]
pub(super) unsafe fn of_this_version<'a, A: Args>(args: *const A) -> Option<&'a A> {
    // SAFETY: as the caller says.
    unsafe {
        let known =
            !args.is_null() && args.is_aligned() && args.cast::<usize>().read() == size_of::<A>();
        known.then(|| &*args)
    }
}

/// What C gives: where it is, or in `room` with later fields at 0 or without them, if its header is of another version.
///
/// # Safety
/// `args` must be NULL or point to as many bytes as its first field says, if that is a version's size and less than
/// [`TOO_LARGE`], which nobody changes while they are read.
#[inline(always)]
pub(super) unsafe fn read<A: Args>(
    args: *const A,
    room: &mut MaybeUninit<A>,
) -> Result<&A, Refusal> {
    // SAFETY: as the caller says.
    unsafe {
        match of_this_version(args) {
            Some(args) => Ok(args),
            None => read_other(args, room),
        }
    }
}

/// As [`read`], of any version.
///
/// # Safety
/// As that.
#[cold]
unsafe fn read_other<A: Args>(args: *const A, room: &mut MaybeUninit<A>) -> Result<&A, Refusal> {
    let known = size_of::<A>();
    if args.is_null() {
        return Err(Refusal::Null { what: "args" });
    }
    if !args.is_aligned() {
        let (address, wanted) = (args.addr(), align_of::<A>());
        return Err(Refusal::Misaligned { what: "args", address, wanted });
    }
    // SAFETY: it is aligned, and the caller vouches for the bytes.
    let size = unsafe { args.cast::<usize>().read() };
    if size != A::OLDEST && !(known..TOO_LARGE).contains(&size) {
        return Err(Refusal::Size { given: size, wanted: known, name: A::NAME });
    }
    let bytes = args.cast::<u8>();
    for i in known..size {
        // SAFETY: the caller vouches for `size` bytes.
        if unsafe { bytes.add(i).read() } != 0 {
            return Err(Refusal::Later { what: A::LATER });
        }
    }
    *room = MaybeUninit::zeroed();
    // SAFETY: both have as many bytes; zeros and whatever C gives make valid fields.
    unsafe {
        ptr::copy_nonoverlapping(bytes, room.as_mut_ptr().cast(), size.min(known));
        Ok(room.assume_init_ref())
    }
}

impl dynorm_forward_args {
    pub(super) fn norm(&self) -> Result<Norm, Refusal> {
        self.norm.read()
    }

    pub(super) fn isa(&self) -> Result<Option<Isa>, Refusal> {
        Ok(known("args.isa", self.isa)?.choice())
    }

    /// # Errors
    /// Bits that are no flag, or something reserved is set.
    pub(super) fn flags(&self) -> Result<Flags, Refusal> {
        if self.reserved != 0 {
            return Err(Refusal::Later { what: "args.reserved" });
        }
        let all = dynorm_flag::ALL.iter().fold(0, |bits, flag| bits | flag.number());
        if self.flags & !all != 0 {
            let name = dynorm_flag::NAME;
            return Err(Refusal::Unknown { what: "args.flags", given: self.flags, name });
        }
        Ok(Flags(self.flags))
    }
}

/// Flags that all have a meaning.
#[derive(Clone, Copy)]
pub(super) struct Flags(u32);

impl Flags {
    pub(super) fn has(self, flag: dynorm_flag) -> bool {
        self.0 & flag.number() != 0
    }

    /// Whether the output is to be written past the caches.
    pub(super) fn stream(self) -> Result<Option<bool>, Refusal> {
        let yes = self.has(dynorm_flag::DYNORM_FLAG_STREAM);
        match (yes, self.has(dynorm_flag::DYNORM_FLAG_NO_STREAM)) {
            (true, true) => Err(Refusal::Contradiction),
            (false, false) => Ok(None),
            _ => Ok(Some(yes)),
        }
    }
}
