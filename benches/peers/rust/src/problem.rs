//! `struct problem` of `native/peer.h`.

use std::ffi::c_void;

pub const RMS_NORM: i32 = 0;
pub const LAYER_NORM: i32 = 1;
pub const DYT: i32 = 2;
pub const DERF: i32 = 4;
pub const TANH: i32 = 5;
pub const ERF: i32 = 6;
pub const F32: i32 = 0;
pub const F16: i32 = 1;

#[repr(C)]
pub struct Problem {
    pub function: i32,
    pub element: i32,
    pub rows: i64,
    pub channels: i64,
    pub x: *const c_void,
    pub weight: *const c_void,
    pub bias: *const c_void,
    pub y: *mut c_void,
    pub threads: i32,
    pub eps: f32,
    pub alpha: f32,
    pub beta: f32,
    pub scale: f32,
}

impl Problem {
    /// # Safety
    /// `data` must be null or have `elements` of `T` that outlive the result.
    unsafe fn slice<'a, T>(data: *const c_void, elements: i64) -> Option<&'a [T]> {
        if data.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(unsafe { std::slice::from_raw_parts(data.cast(), elements as usize) })
    }

    /// # Safety
    /// `T` must be the problem's type and its pointers valid, for the three that follow.
    pub unsafe fn x<'a, T>(&self) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { Self::slice(self.x, self.rows * self.channels) }.expect("x is there")
    }

    /// # Safety
    /// As [`x`](Self::x).
    pub unsafe fn weight<'a, T>(&self) -> Option<&'a [T]> {
        // SAFETY: the caller's promise.
        unsafe { Self::slice(self.weight, self.channels) }
    }

    /// # Safety
    /// As [`x`](Self::x).
    pub unsafe fn bias<'a, T>(&self) -> Option<&'a [T]> {
        // SAFETY: the caller's promise.
        unsafe { Self::slice(self.bias, self.channels) }
    }

    /// # Safety
    /// As [`x`](Self::x); nothing else may use the output meanwhile.
    pub unsafe fn y<'a, T>(&self) -> &'a mut [T] {
        let elements = (self.rows * self.channels) as usize;
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.y.cast(), elements) }
    }
}
