//! Sizes and offsets of the structs, as Rust has them and as a C program prints them.

use super::build::Check;
use super::build::{Linking, build, scratch, succeed};
use dynorm::ffi::{dynorm_backward_args, dynorm_forward_args, dynorm_norm, dynorm_row_statistics};
use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;
use std::{fs, ptr};

/// A struct: its name, size and alignment, and its fields' names, offsets and sizes.
struct Struct {
    name: &'static str,
    size: usize,
    align: usize,
    fields: Vec<(&'static str, usize, usize)>,
}

/// The size of what a pointer to a field points at.
fn size_of_pointee<T>(_: *const T) -> usize {
    size_of::<T>()
}

macro_rules! describe {
    ($name:ident { $($field:ident),* $(,)? }) => {{
        let nowhere = ptr::null::<$name>();
        Struct {
            name: stringify!($name),
            size: size_of::<$name>(),
            align: align_of::<$name>(),
            fields: vec![$((
                stringify!($field),
                offset_of!($name, $field),
                // SAFETY: the address is computed, and not read from.
                size_of_pointee(unsafe { &raw const (*nowhere).$field }),
            )),*],
        }
    }};
}

/// Every struct of the header with every field. One that is forgotten shows as padding.
fn structs() -> [Struct; 4] {
    [
        describe!(dynorm_norm { function, eps, alpha, beta, scale, shift, reserved }),
        describe!(dynorm_forward_args {
            size,
            norm,
            rows,
            channels,
            x,
            y,
            x_row_stride,
            y_row_stride,
            x_element,
            y_element,
            weight,
            bias,
            weight_element,
            bias_element,
            weight_offset,
            isa,
            flags,
            reserved,
            residual,
            residual_sum,
            residual_row_stride,
            residual_sum_row_stride,
            z,
            z_row_stride,
            residual_element,
            z_element,
            heads,
            x_token_stride,
            y_token_stride,
            residual_token_stride,
            residual_sum_token_stride,
            z_token_stride,
            scales,
            scale_mode,
            scale_group_size,
            statistics,
        }),
        describe!(dynorm_backward_args {
            size,
            norm,
            rows,
            channels,
            x,
            dy,
            dx,
            x_row_stride,
            dy_row_stride,
            dx_row_stride,
            element,
            weight_element,
            weight,
            weight_offset,
            isa,
            d_weight,
            d_bias,
            d_parameters,
            workspace,
            workspace_len,
            heads,
            x_token_stride,
            dy_token_stride,
            dx_token_stride,
        }),
        describe!(dynorm_row_statistics { count, mean, mean_low, m2 }),
    ]
}

/// One line for each struct and field: name, then offset or alignment, and size.
pub fn in_rust() -> String {
    let mut lines = String::new();
    for Struct { name, size, align, fields } in structs() {
        writeln!(lines, "{name} {align} {size}").unwrap();
        let mut end = 0;
        for (field, offset, field_size) in fields {
            assert_eq!(offset, end, "there is padding before {name}.{field}");
            end = offset + field_size;
            writeln!(lines, "{name}.{field} {offset} {field_size}").unwrap();
        }
        assert_eq!(end, size, "there is padding at the end of {name}");
    }
    lines
}

/// The same lines, printed by C.
pub fn in_c() -> String {
    let mut program = String::from("#include \"dynorm.h\"\n#include <stdio.h>\nint main(void) {\n");
    for Struct { name, fields, .. } in structs() {
        let line = |name: &str, offset: &str, size: &str| {
            format!("  printf(\"{name} %zu %zu\\n\", {offset}, sizeof({size}));\n")
        };
        program += &line(name, &format!("_Alignof({name})"), name);
        for (field, ..) in fields {
            let offset = format!("offsetof({name}, {field})");
            program +=
                &line(&format!("{name}.{field}"), &offset, &format!("(({name} *)0)->{field}"));
        }
    }
    program += "  return 0;\n}\n";
    let (source, executable) = (scratch("layout.c"), scratch("layout"));
    fs::write(&source, program).unwrap();
    build(&source, "c11", Linking::Shared, Check::None, &executable);
    succeed(&mut Command::new(executable))
}
