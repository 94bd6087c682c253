/*
 * dynorm: RMSNorm, LayerNorm, DyT, DyISRU and Derf over rows of channels, on the CPU and on NVIDIA
 * GPUs. Generated from src/ffi by tests/header.rs; do not edit.
 *
 *   float x[2 * 4096], y[2 * 4096], weight[4096];
 *   ...
 *   dynorm_forward_args args = dynorm_forward_args_init();
 *   args.norm = dynorm_rms_norm(1e-5f);
 *   args.rows = 2;
 *   args.channels = 4096;
 *   args.x = x;
 *   args.y = y;
 *   args.weight = weight;
 *   args.x_element = args.y_element = args.weight_element = DYNORM_F32;
 *   if (dynorm_forward(&args) != DYNORM_OK) {
 *     fprintf(stderr, "%s\n", dynorm_last_error());
 *   }
 *
 * What holds for every function:
 *
 * - On the CPU nothing has to be set up, and nothing is kept between calls but the choice of
 *   instructions and, after the first dynorm_forward_parallel, its threads. CUDA calls take a
 *   dynorm_cuda, which is opened once.
 * - A function that can fail returns a dynorm_status. What it refuses it has not begun: nothing has
 *   been written through any pointer. dynorm_last_error() has the details, per thread.
 * - NULL, misaligned addresses, unknown values, impossible shapes and overlaps are errors. The sizes
 *   of buffers cannot be seen: a buffer that is smaller than its shape is undefined behaviour.
 * - No call throws or unwinds. Any thread may call, also several at once.
 * - Enums are 32-bit numbers. The struct of a call begins with its size, and structs have no padding:
 *   later versions may add values, and fields at the end, and leave the others as they are. Before
 *   version 1 a new minor version may change more; the shared library's name tells which one it is
 *   (libdynorm.so.0.MINOR).
 */
#ifndef DYNORM_H
#define DYNORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// The version of this header.
#define DYNORM_VERSION_MAJOR 0
#define DYNORM_VERSION_MINOR 1
#define DYNORM_VERSION_PATCH 0
// The version of this header as one number: 1000000 major + 1000 minor + patch.
#define DYNORM_VERSION \
  (1000000 * DYNORM_VERSION_MAJOR + 1000 * DYNORM_VERSION_MINOR + DYNORM_VERSION_PATCH)

// What a function returns. A number keeps its meaning; later versions may add some.
enum dynorm_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // Done.
  DYNORM_OK = 0,
  // A pointer is NULL that must not be.
  DYNORM_ERROR_NULL = 1,
  // An address is not a multiple of the element's size, or a struct is not aligned.
  DYNORM_ERROR_ALIGNMENT = 2,
  // The field `size` of a struct is not what `sizeof` gives in any known version of the header.
  DYNORM_ERROR_STRUCT_SIZE = 3,
  // A number that stands for none of the values of its enum, flags that exclude each other, or
  // something that the function, or the type of y, does not go with.
  DYNORM_ERROR_VALUE = 4,
  // No channels, a stride that makes rows overlap, rows that are no whole tokens, or more than
  // memory can hold.
  DYNORM_ERROR_SHAPE = 5,
  // A parameter is outside its range.
  DYNORM_ERROR_PARAMETER = 6,
  // What is written shares memory with something else, other than exactly in place.
  DYNORM_ERROR_OVERLAP = 7,
  // A part whose index is not below the count.
  DYNORM_ERROR_PART = 8,
  // The processor lacks the instruction set, or `DYNORM_ISA` names none.
  DYNORM_ERROR_ISA = 9,
  // The library was built without what was asked for, or is older than a field that is used.
  DYNORM_ERROR_UNSUPPORTED = 10,
  // No CUDA driver, or a driver or device that is too old.
  DYNORM_ERROR_CUDA_MISSING = 11,
  // The CUDA driver refused a call; it may report the failure of earlier work.
  DYNORM_ERROR_CUDA_DRIVER = 12,
  // No CUDA context is current on this thread.
  DYNORM_ERROR_CUDA_CONTEXT = 13,
  // The device was opened without the kernels of this function.
  DYNORM_ERROR_CUDA_NOT_LOADED = 14,
  // An address that the device cannot reach, or that belongs to another context.
  DYNORM_ERROR_CUDA_MEMORY = 15,
  // An error of the library itself. The output may be partly written.
  DYNORM_ERROR_INTERNAL = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_status dynorm_status;
#else
typedef uint32_t dynorm_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A function over the rows of a tensor.
enum dynorm_function
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // RMSNorm: `x / sqrt(mean(x^2) + eps)`, the mean over the row.
  DYNORM_RMS_NORM = 1,
  // LayerNorm: `(x - mean) / sqrt(var + eps)`, mean and population variance over the row.
  DYNORM_LAYER_NORM = 2,
  // DyT: `tanh(alpha x)`.
  DYNORM_DYT = 3,
  // DyISRU: `scale x / sqrt(beta + x^2)`.
  DYNORM_DYISRU = 4,
  // Derf: `erf(alpha x + shift)`.
  DYNORM_DERF = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_function dynorm_function;
#else
typedef uint32_t dynorm_function;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of a tensor's elements. Arithmetic is in f32 whatever the type; results are rounded
// once, to nearest even.
enum dynorm_element
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // IEEE binary32, `float`.
  DYNORM_F32 = 1,
  // IEEE binary16.
  DYNORM_F16 = 2,
  // bfloat16, the upper half of a binary32.
  DYNORM_BF16 = 3,
  // Two's complement of 8 bits, from -127 to 127; NaN becomes 0. For y alone, with a scale.
  DYNORM_I8 = 4,
  // The OCP's float of 8 bits with 4 of exponent and 3 of significand, without infinities, up to
  // 448; NaN stays one. For y alone, with a scale.
  DYNORM_F8_E4M3 = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_element dynorm_element;
#else
typedef uint32_t dynorm_element;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Instructions for the CPU's kernels. On one of them, on one processor, a row gives the same bits in
// every call; between them results differ within the errors that docs/accuracy.md states, and so do those of
// DyT, DyISRU, Derf and gates between processors of different makers.
enum dynorm_isa
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // No choice: what `dynorm_isa_set_current` chose, else what the environment variable
  // `DYNORM_ISA` names (portable, avx2, avx512 or avx512bf16), else the best there is.
  DYNORM_ISA_CURRENT = 0,
  // The instructions that every processor of the architecture has.
  DYNORM_ISA_PORTABLE = 1,
  // AVX2 with FMA and F16C.
  DYNORM_ISA_AVX2 = 2,
  // AVX-512 F, BW, DQ and VL.
  DYNORM_ISA_AVX512 = 3,
  // AVX-512 with its conversion to bfloat16.
  DYNORM_ISA_AVX512_BF16 = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_isa dynorm_isa;
#else
typedef uint32_t dynorm_isa;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Where the scales of an output of 8 bits come from. Its elements are the results in f32, multiplied
// with the reciprocal of their scale, rounded to nearest even; what is out of range becomes the
// largest value of its sign. DyT, DyISRU and Derf have a relative error of up to 1.5e-4 before weight and
// bias: at most a fiftieth of a step of i8 where there is no bias or the scale is that of
// `dynorm_output_bound`; a gate comes with 7e-5 more. Scales must be finite and at least 2^-126.
// Those that are given are checked on the CPU; a device reads them when the stream comes to the call, and
// checks nothing.
enum dynorm_scale
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // There is none, as y has more than 8 bits.
  DYNORM_SCALE_NONE = 0,
  // One for all of y, which is read: in CUDA calls from device memory.
  DYNORM_SCALE_GIVEN = 1,
  // One for each row, read from `scales`.
  DYNORM_SCALE_GIVEN_PER_ROW = 2,
  // One for each row, written to `scales`: the largest magnitude of the row's results over that of
  // y's type, and 2^-126 at least. NaN does not count, infinity as the largest finite f32. On the CPU that
  // of RMSNorm without bias and gate is within a relative 2^-22.
  DYNORM_SCALE_COMPUTED = 3,
  // One for each group of `scale_group_size` channels of each row, the last of a row perhaps of fewer, exactly from the
  // largest of the group's own results: that of channel c of row r to `scales[r * groups + c / scale_group_size]`, with
  // `groups = (channels + scale_group_size - 1) / scale_group_size`. Not in CUDA calls.
  DYNORM_SCALE_COMPUTED_PER_GROUP = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_scale dynorm_scale;
#else
typedef uint32_t dynorm_scale;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Options of a call, to be combined by `|`.
enum dynorm_flag
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // CPU: write the output past the caches (stream it), whatever its size. Without this flag and the next
  // an output is streamed that with the input is more than half of the last-level cache, or on processors
  // of Intel more than 12 MiB for each thread, unless its rows begin elsewhere than at cache lines and are
  // short, and of another type than x or with gaps between them.
  // It has no effect in place, nor on the portable kernels.
  DYNORM_FLAG_STREAM = 1,
  // CPU: never write the output past the caches: for a large output that is read again at once.
  DYNORM_FLAG_NO_STREAM = 2,
  // CUDA: take DyT's tanh from one instruction, with a relative error of 2^-11.
  DYNORM_FLAG_FAST_TANH = 4,
  // CUDA, compute capability 9.0 and newer: let the kernel start before the one ahead of it on the stream
  // has finished. It waits before it reads anything but weight and bias, and before it writes: no
  // kernel that may still run may write those two.
  DYNORM_FLAG_PROGRAMMATIC = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum dynorm_flag dynorm_flag;
#else
typedef uint32_t dynorm_flag;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A CUDA context with the kernels of some functions, for some types of x, loaded into it. Make one at
// start-up and keep it: opening compiles kernels for the device, which takes up to seconds for each
// function and type (the driver keeps a cache on disk). Several threads may use one at once, whichever
// context is current on them.
typedef struct dynorm_cuda dynorm_cuda;

// A function and its parameters, dimensionless f32 scalars as the papers name them. Those that
// the function does not use are not looked at. `dynorm_rms_norm()` and its like fill one in.
typedef struct dynorm_norm {
  // Which function.
  dynorm_function function;
  // RMSNorm and LayerNorm: added to the mean square or the variance; finite and at least 0.
  float eps;
  // DyT and Derf: the slope of the argument; finite.
  float alpha;
  // DyISRU: the scalar under the root; finite and above 0.
  float beta;
  // DyISRU: 1 in trained models, sqrt(channels) in the paper; finite.
  float scale;
  // Derf: added to the argument; finite.
  float shift;
  // Must be 0.
  uint32_t reserved[2];
} dynorm_norm;

// What is known of a row, or of a shard of it. All 0 are those of no elements.
//
// Tensor-parallel hosts compute them for their shards by `dynorm_row_statistics_compute` or
// `dynorm_cuda_row_statistics`, bring the parts together, and give the whole to a call, in its field
// `statistics`. For RMSNorm an all-reduce that sums up all four numbers does that; for LayerNorm
// gather them and merge them in the same order everywhere, by `dynorm_row_statistics_merge`, so that
// all devices have the same bits.
typedef struct dynorm_row_statistics {
  // Elements.
  float count;
  // Their mean, rounded; 0 for RMSNorm.
  float mean;
  // What rounding took from the mean, which is `mean + mean_low`; 0 for RMSNorm.
  float mean_low;
  // The sum of `(x - mean)^2`.
  float m2;
} dynorm_row_statistics;

// A call over `rows` rows of `channels` elements that lie side by side. For each element
// `y = ((weight_offset + weight) * f(x) + bias) * silu(z)`, with f the function, in f32 and rounded
// once to the type of y; without z, there is no silu(z). With a residual, f is taken of the sum of
// x and it. The types of the tensors may differ.
//
// Fields that are left at 0 have their default. Later versions of the library may add fields at
// the end, whose default will be 0, too: `size` tells them which of them the caller knows.
//
// Everything stays the caller's, and nothing is kept: the struct is not needed after the call,
// nor are the tensors, on the CPU. In CUDA calls all that the fields point at is device memory,
// scales and statistics too, and is needed until the stream has come past the call.
//
// In place means that x and y are the same address, with the same strides and elements of the same
// size; or residual and residual_sum. Any other overlap of what is written (y, the residual or its
// sum, computed scales) with what is read or written is refused. Rows of two tensors may lie between
// each other, as columns of one matrix do, if the tensors have no element in common and the same
// strides; heads of one token may not.
typedef struct dynorm_forward_args {
  // `sizeof(dynorm_forward_args)`.
  size_t size;
  // The function and its parameters.
  struct dynorm_norm norm;
  // Rows, those of all heads. 0 is allowed, and nothing is done: no address is looked at then.
  size_t rows;
  // Elements of a row; at least 1.
  size_t channels;
  // Input, aligned to its element; only read.
  const void *x;
  // Output, aligned to its element. What lies between its rows is neither read nor written.
  void *y;
  // Elements from the begin of a row of x to the begin of the next (of the next head, with
  // heads), at least `channels`. 0 for `channels`.
  size_t x_row_stride;
  // The same of y.
  size_t y_row_stride;
  // The type of x; none of 8 bits.
  dynorm_element x_element;
  // The type of y. Those of 8 bits need a `scale_mode`.
  dynorm_element y_element;
  // One factor per channel, side by side, aligned to its element. NULL for none.
  const void *weight;
  // One summand per channel, side by side, aligned to its element. NULL for none.
  const void *bias;
  // The type of weight; not looked at without one.
  dynorm_element weight_element;
  // The type of bias; not looked at without one.
  dynorm_element bias_element;
  // Added to every weight, in f32; finite. 1 for models that store weight - 1 (Gemma). It has no
  // effect without a weight.
  float weight_offset;
  // The CPU's instructions. CUDA calls do not look at it.
  dynorm_isa isa;
  // Values of `dynorm_flag`, combined by `|`.
  uint32_t flags;
  // Must be 0.
  uint32_t reserved;
  // Added to x in f32, rounded to its own type, and written back; the function is taken of that
  // sum. As many rows as x, aligned to its element. NULL for none.
  void *residual;
  // Where the sum goes instead: as many rows, of the type of residual, which is only read then.
  // NULL for in place. It needs a residual.
  void *residual_sum;
  // As x_row_stride; not looked at without a residual.
  size_t residual_row_stride;
  // As x_row_stride; not looked at without a residual_sum.
  size_t residual_sum_row_stride;
  // The gate: the result is multiplied by `silu(z) = z / (1 + exp(-z))`, element by element,
  // before it is rounded. As many rows as x, aligned to its element. NULL for none.
  const void *z;
  // As x_row_stride; not looked at without z.
  size_t z_row_stride;
  // The type of residual and residual_sum; not looked at without them.
  dynorm_element residual_element;
  // The type of z; not looked at without it.
  dynorm_element z_element;
  // Heads of a token, the same in all tensors; `rows` is a multiple of it. Row `token * heads +
  // head` begins `token * token_stride + head * row_stride` elements behind the first, so that q
  // or k can be taken from a packed qkv. 0 for rows that are all one row stride apart; token
  // strides are not looked at then.
  size_t heads;
  // Elements from the begin of a token of x to the begin of the next. 0 for `heads` row strides.
  size_t x_token_stride;
  // The same of y.
  size_t y_token_stride;
  // The same of residual.
  size_t residual_token_stride;
  // The same of residual_sum.
  size_t residual_sum_token_stride;
  // The same of z.
  size_t z_token_stride;
  // The scales of a y of 8 bits, one, or one for each row or group, as `scale_mode` says, aligned. Not
  // looked at without that. In CUDA calls they are device memory, a single one too.
  float *scales;
  // Where the scales come from. 0, DYNORM_SCALE_NONE, if and only if y has more than 8 bits.
  dynorm_scale scale_mode;
  // Channels of a group, with DYNORM_SCALE_COMPUTED_PER_GROUP: 1 to 4096. Else 0.
  uint32_t scale_group_size;
  // What RMSNorm and LayerNorm need to know of each row, one for each, aligned to 4 bytes, for
  // rows that are known in shards only. NULL to find it in the rows. The other functions take
  // none.
  const struct dynorm_row_statistics *statistics;
} dynorm_forward_args;

// A call for the gradients of a forward call without anything fused into it, over the same `rows` rows of `channels`
// elements: with `dy` the gradient of some loss by its output, those by the input, and on request by weight, bias and
// parameters. The bias changes none of them and is not given.
//
// Fields that are left at 0 have their default. Later versions of the library may add fields at
// the end, whose default will be 0, too: `size` tells them which of them the caller knows.
//
// Everything stays the caller's, and nothing is kept. In place means that dy and dx are the same address, with the same
// strides. Any other overlap of what is written (all but x, dy and weight) with what is read or written is refused.
typedef struct dynorm_backward_args {
  // `sizeof(dynorm_backward_args)`.
  size_t size;
  // The function and its parameters.
  struct dynorm_norm norm;
  // Rows, those of all heads. With 0 gradients that are sums over rows become 0.
  size_t rows;
  // Elements of a row; at least 1.
  size_t channels;
  // Input of the forward call, aligned to its element; only read.
  const void *x;
  // The gradient of its output, aligned to its element; only read, unless in place.
  const void *dy;
  // Where the gradient of the input goes, aligned to its element. What lies between its rows is neither read nor
  // written.
  void *dx;
  // Elements from the begin of a row of x to the begin of the next (of the next head, with heads), at least
  // `channels`. 0 for `channels`.
  size_t x_row_stride;
  // The same of dy.
  size_t dy_row_stride;
  // The same of dx.
  size_t dx_row_stride;
  // The type of x, dy and dx; none of 8 bits.
  dynorm_element element;
  // The type of weight; not looked at without one.
  dynorm_element weight_element;
  // The forward call's weight, one factor per channel, side by side, aligned to its element. NULL for none.
  const void *weight;
  // The forward call's weight_offset; finite.
  float weight_offset;
  // The CPU's instructions.
  dynorm_isa isa;
  // Where the gradient of the weight goes, `sum(dy f(x))` over the rows: one for each channel. NULL if it is not wanted.
  float *d_weight;
  // Where the gradient of the bias goes, `sum(dy)` over the rows: one for each channel. NULL if it is not wanted.
  float *d_bias;
  // Where the gradients of the function's parameters go, sums over all elements: of DyT alpha, of DyISRU beta and scale, of Derf
  // alpha and shift. NULL if they are not wanted; the other functions have none.
  float *d_parameters;
  // Memory for partial sums, which need not hold anything before; NULL if none is needed.
  float *workspace;
  // How many values of f32 it has room for: at least what `dynorm_backward_workspace` says, on a GPU
  // `dynorm_cuda_backward_workspace`, which may be some for dx alone, too.
  size_t workspace_len;
  // Heads of a token, the same in x, dy and dx; `rows` is a multiple of it. Row `token * heads + head` begins
  // `token * token_stride + head * row_stride` elements behind the first. 0 for rows that are all one row stride apart; token
  // strides are not looked at then.
  size_t heads;
  // Elements from the begin of a token of x to the begin of the next. 0 for `heads` row strides.
  size_t x_token_stride;
  // The same of dy.
  size_t dy_token_stride;
  // The same of dx.
  size_t dx_token_stride;
} dynorm_backward_args;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that is linked, in the form of `DYNORM_VERSION`, which is that of
// the header. Up to version 1 they must have the same major and minor number; the library's file
// name sees to it where it is shared. Never fails; any thread may call it.
uint32_t dynorm_version(void);

// A status in a few words. The text is static; an unknown number gets one, too. Any thread may
// call it.
const char *dynorm_status_string(dynorm_status status);

// What was wrong with the last call on the calling thread that returned an error: what was given
// and what was wanted, in UTF-8; empty if there was none. The text belongs to the library and is
// overwritten by the next error on the same thread; another thread must not read it.
const char *dynorm_last_error(void);

// Does the work on the calling thread. Nothing is allocated, and no lock is taken.
//
// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT,
// _STRUCT_SIZE, _VALUE, _SHAPE, _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later
// version. (DYNORM_ERROR_INTERNAL would be a defect of the library, and leaves the output undefined.)
// Any number of threads may call it at once, on outputs of their own.
//
// What it cannot see: that the tensors are as large as their shapes say, and that no other thread
// writes them or reads what is written meanwhile.
dynorm_status dynorm_forward(const struct dynorm_forward_args *args);

// As `dynorm_forward`, on the threads of a pool that is made at the first call: one per logical
// processor, or as many as the environment variable RAYON_NUM_THREADS says. Small work stays on
// the calling thread; results have the same bits.
//
// DYNORM_ERROR_UNSUPPORTED if the library was built without the feature rayon. A process that has
// made the pool must not use this function in a child that it has forked.
dynorm_status dynorm_forward_parallel(const struct dynorm_forward_args *args);

// Does part `index` of `count` of the work on the calling thread, for hosts with threads of their
// own: each of `count` threads calls this with the same args and its index, and when all have
// returned the work is done. Nothing is spawned and nothing is waited for; one thread may do
// several parts, one after another. Row functions are split by rows, the others anywhere, also
// inside one row; a part may be empty, and of a few thousand elements all may be in the first.
// Results have the same bits as those of `dynorm_forward`.
//
// Errors as `dynorm_forward`; DYNORM_ERROR_PART unless `index < count`. Every part checks the
// args by itself, so all of them return the same error.
dynorm_status dynorm_forward_part(const struct dynorm_forward_args *args,
                                  size_t index,
                                  size_t count);

// Does the work on the calling thread. Nothing is allocated, and no lock is taken. dx is rounded once to its type; the other
// gradients are summed up in an order that depends on the shape alone.
//
// Returns DYNORM_OK, or an error, and then has written nothing: DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _VALUE, _SHAPE (a
// workspace that is too small, too), _PARAMETER, _OVERLAP, _ISA, or _UNSUPPORTED for fields of a later version. Any number of threads may call it at once, on
// outputs of their own.
dynorm_status dynorm_backward(const struct dynorm_backward_args *args);

// As `dynorm_backward`, on the threads of the pool of `dynorm_forward_parallel`. Small work stays on the calling thread;
// results have the same bits.
//
// DYNORM_ERROR_UNSUPPORTED if the library was built without the feature rayon.
dynorm_status dynorm_backward_parallel(const struct dynorm_backward_args *args);

// Writes to `len` how many values of f32 a call's workspace has to have room for, by its rows and channels and by which gradients are
// not NULL; none of them is written, and nothing else is looked at.
//
// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE or _UNSUPPORTED, and then nothing is written.
dynorm_status dynorm_backward_workspace(const struct dynorm_backward_args *args,
                                        size_t *len);

// Writes to `bound` what no result of DyT, DyISRU or Derf exceeds in magnitude, whatever the input:
// the largest of `|weight_offset + weight| * |scale| + |bias|` over the channels, with scale that of
// DyISRU and 1 of the others, rounded up. Results exceed it by no more than rounding in f32 does, 2
// ulp. `dynorm_scale_for` makes it the scale of a y of 8 bits that needs neither calibration nor a
// pass over the data; compute it once.
//
// Of `args`, the function with its parameters, channels, weight and bias with their types, and
// weight_offset are used; z must be NULL, since what it is multiplied with has no bound; nothing
// else is looked at. Weight and bias are in the host's memory, also where y will be a device's.
//
// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER; _VALUE also for RMSNorm and
// LayerNorm, which have no such bound, and for a z. On error `bound` is left as it was. Any thread may
// call it.
dynorm_status dynorm_output_bound(const struct dynorm_forward_args *args,
                                  float *bound);

// Writes to `statistics`, one for each row, what RMSNorm or LayerNorm need to know of the rows of x,
// on the calling thread.
//
// Of `args`, the function with its parameters, rows, channels, heads, x with its type and strides, and
// isa are used; residual must be NULL, since x alone is looked at; nothing else is. With no rows
// nothing is done.
//
// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER, _ISA; _OVERLAP if `statistics`
// shares memory with x; _VALUE also for the element-wise functions, which need none, and for a
// residual. On error `statistics` is left as it was. Any thread may call it.
dynorm_status dynorm_row_statistics_compute(const struct dynorm_forward_args *args,
                                            struct dynorm_row_statistics *statistics);

// Those of the elements of both, in double precision and rounded once. The order of merging may
// change the last bit. Never fails; any thread may call it.
struct dynorm_row_statistics dynorm_row_statistics_merge(struct dynorm_row_statistics a,
                                                         struct dynorm_row_statistics b);

// Writes to `isa` the instructions that calls use unless they say otherwise. It is chosen at the
// first call of any function that needs it; see DYNORM_ISA_CURRENT.
//
// DYNORM_ERROR_NULL; DYNORM_ERROR_ISA if DYNORM_ISA in the environment names none, or one that
// the processor lacks, and `isa` is left as it was. Any thread may call it.
dynorm_status dynorm_isa_current(dynorm_isa *isa);

// Makes every later call of the process use `isa` unless it says otherwise. For tests and
// benchmarks; the field `isa` of a call's struct chooses for that call alone.
//
// DYNORM_ERROR_VALUE if `isa` is no instruction set; DYNORM_ERROR_ISA if the processor lacks it.
// Any thread may call it.
dynorm_status dynorm_isa_set_current(dynorm_isa isa);

// Whether this processor, and its operating system, have `isa`; false for numbers that are no
// instruction set. Any thread may call it.
bool dynorm_isa_is_available(dynorm_isa isa);

// The name of `isa` as DYNORM_ISA in the environment has it; NULL for numbers that are no
// instruction set. The text is static. Any thread may call it.
const char *dynorm_isa_name(dynorm_isa isa);

// Writes to `count` the number of CUDA devices.
//
// DYNORM_ERROR_NULL; DYNORM_ERROR_CUDA_MISSING without a driver that will do;
// DYNORM_ERROR_CUDA_DRIVER; DYNORM_ERROR_UNSUPPORTED if the library was built without CUDA. On
// error `count` is left as it was. Any thread may call it.
dynorm_status dynorm_cuda_device_count(size_t *count);

// Opens the primary context of device `ordinal`, which is the one that the CUDA runtime and
// PyTorch use, and loads kernels into it: those of the `function_count` functions at `functions`, for x
// (or the residual that it is added to) of the `type_count` types at `types`; of all functions or types
// where the address is NULL, whatever the count is. `device` receives what `dynorm_cuda_close` must be
// given in the end.
//
// DYNORM_ERROR_NULL; DYNORM_ERROR_VALUE for an unknown function or type, or one of 8 bits;
// DYNORM_ERROR_CUDA_MISSING without a driver or device that will do; DYNORM_ERROR_CUDA_DRIVER;
// DYNORM_ERROR_UNSUPPORTED if the library was built without CUDA. On error `device` is left as it was.
// Any thread may call it.
dynorm_status dynorm_cuda_open_primary(uint32_t ordinal,
                                       const dynorm_function *functions,
                                       size_t function_count,
                                       const dynorm_element *types,
                                       size_t type_count,
                                       struct dynorm_cuda **device);

// As `dynorm_cuda_open_primary`, for a context of the caller's, a `CUcontext`; NULL for the one
// that is current on the calling thread. It is neither retained nor destroyed, and must outlive
// the device.
//
// Further errors: DYNORM_ERROR_CUDA_CONTEXT if none is current.
dynorm_status dynorm_cuda_open_context(void *context,
                                       const dynorm_function *functions,
                                       size_t function_count,
                                       const dynorm_element *types,
                                       size_t type_count,
                                       struct dynorm_cuda **device);

// Unloads the kernels and releases what `dynorm_cuda_open_primary` has retained. Kernels that
// still run are waited for; no call may be in progress on another thread. NULL is nothing to be
// done.
void dynorm_cuda_close(struct dynorm_cuda *device);

// Puts the work of `args` on `stream`, a `CUstream` (or `cudaStream_t`) of the device's context;
// NULL for its default stream. Tensors, scales and statistics are device memory, which may come
// from any library that shares the context. Nothing is allocated and nothing is waited for, so that
// a stream that is being captured into a graph takes it. In any batch and at any alignment a row
// gives the same bits; addresses, strides and channels that are multiples of 16 bytes are the
// fastest.
//
// Errors as `dynorm_forward` but for _ISA, and nothing is launched then; DYNORM_ERROR_SHAPE also for
// 2^31 or more blocks or channels, or, with heads, rows; DYNORM_ERROR_CUDA_NOT_LOADED if the device
// was opened without the function; DYNORM_ERROR_CUDA_MEMORY as far as the driver knows;
// DYNORM_ERROR_CUDA_DRIVER for what else the driver refuses, such as a stream of another context;
// DYNORM_ERROR_UNSUPPORTED also if the library was built without CUDA. Any number of threads may
// call it at once.
//
// What it cannot see: what `dynorm_forward` cannot, until the stream has come past the call; and
// the values of scales that are given.
dynorm_status dynorm_cuda_forward(const struct dynorm_cuda *device,
                                  const struct dynorm_forward_args *args,
                                  void *stream);

// Puts on `stream` the work of writing to `statistics`, device memory for one for each row, what
// RMSNorm or LayerNorm need to know of the rows of x: `dynorm_row_statistics_compute` on a device,
// for calls to take in their field `statistics`. Streams are as in `dynorm_cuda_forward`.
//
// Of `args`, the function with its parameters, rows, channels, heads, x with its type and strides,
// and flags are used; residual must be NULL, since x alone is looked at; nothing else is. With no
// rows nothing is done.
//
// DYNORM_ERROR_NULL, _ALIGNMENT, _STRUCT_SIZE, _SHAPE, _PARAMETER; _OVERLAP if `statistics` shares
// memory with x; _VALUE also for the element-wise functions, which need none, and for a residual;
// _UNSUPPORTED and those of CUDA as `dynorm_cuda_forward`. Nothing is launched then. Any number of
// threads may call it at once.
dynorm_status dynorm_cuda_row_statistics(const struct dynorm_cuda *device,
                                         const struct dynorm_forward_args *args,
                                         struct dynorm_row_statistics *statistics,
                                         void *stream);

// Loads the kernels of gradients, too, of functions and types as in `dynorm_cuda_open_primary`. They are apart since
// inference needs none. No other call may use `device` meanwhile.
//
// DYNORM_ERROR_NULL, _VALUE, _CUDA_DRIVER, and _UNSUPPORTED if the library was built without CUDA. What was loaded before an
// error stays loaded.
dynorm_status dynorm_cuda_load_gradients(struct dynorm_cuda *device,
                                         const dynorm_function *functions,
                                         size_t function_count,
                                         const dynorm_element *types,
                                         size_t type_count);

// Puts the work of `args` on `stream`, as `dynorm_cuda_forward`: gradients on a device, in up to three kernels, one after the
// other. All addresses in `args` are of device memory; `workspace` has room for what `dynorm_cuda_backward_workspace` says,
// and calls that may run at the same time need one each. `isa` is not looked at.
//
// The order of sums depends on shape and type alone, not on the device. Of one device the results have the same bits at any
// alignment and in place or not, but for those by parameters, which may differ by roundings where rows are not aligned to 16
// bytes.
//
// Errors as `dynorm_backward` but for _ISA, and as `dynorm_cuda_forward`; DYNORM_ERROR_CUDA_NOT_LOADED if
// `dynorm_cuda_load_gradients` has not loaded the function for the type. Nothing is launched then, unless it is
// DYNORM_ERROR_CUDA_DRIVER of the second or third kernel. Any number of threads may call it at once.
dynorm_status dynorm_cuda_backward(const struct dynorm_cuda *device,
                                   const struct dynorm_backward_args *args,
                                   void *stream);

// Writes to `len` how many values of f32 the workspace of `dynorm_cuda_backward` has to have room for, by function, type,
// rows and channels and by which gradients are not NULL; none of them is written, and no address looked at. No device is
// needed.
//
// Errors as `dynorm_cuda_backward` for what is looked at, and then nothing is written.
dynorm_status dynorm_cuda_backward_workspace(const struct dynorm_backward_args *args,
                                             size_t *len);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

// RMSNorm, `x / sqrt(mean(x^2) + eps)`.
static inline dynorm_norm dynorm_rms_norm(float eps) {
  dynorm_norm norm = {DYNORM_RMS_NORM, eps, 0, 0, 0, 0, {0, 0}};
  return norm;
}

// LayerNorm, `(x - mean) / sqrt(var + eps)`.
static inline dynorm_norm dynorm_layer_norm(float eps) {
  dynorm_norm norm = {DYNORM_LAYER_NORM, eps, 0, 0, 0, 0, {0, 0}};
  return norm;
}

// DyT, `tanh(alpha x)`.
static inline dynorm_norm dynorm_dyt(float alpha) {
  dynorm_norm norm = {DYNORM_DYT, 0, alpha, 0, 0, 0, {0, 0}};
  return norm;
}

// DyISRU, `scale x / sqrt(beta + x^2)`.
static inline dynorm_norm dynorm_dyisru(float beta, float scale) {
  dynorm_norm norm = {DYNORM_DYISRU, 0, 0, beta, scale, 0, {0, 0}};
  return norm;
}

// Derf, `erf(alpha x + shift)`.
static inline dynorm_norm dynorm_derf(float alpha, float shift) {
  dynorm_norm norm = {DYNORM_DERF, 0, alpha, 0, 0, shift, {0, 0}};
  return norm;
}

// The scale that makes `largest` the largest value of a y of `element`, which is DYNORM_I8 or
// DYNORM_F8_E4M3: `largest` over 127 or 448, at least 2^-126. Of `dynorm_output_bound` it is one for
// DYNORM_SCALE_GIVEN.
static inline float dynorm_scale_for(dynorm_element element, float largest) {
  const float smallest = 1.17549435e-38f, scale = largest / (element == DYNORM_I8 ? 127.0f : 448.0f);
  return scale > smallest ? scale : smallest;
}

// A dynorm_forward_args with its size set and all else at 0, which is each field's default.
static inline dynorm_forward_args dynorm_forward_args_init(void) {
  dynorm_forward_args args;
  memset(&args, 0, sizeof args);
  args.size = sizeof args;
  return args;
}

// The same for a dynorm_backward_args.
static inline dynorm_backward_args dynorm_backward_args_init(void) {
  dynorm_backward_args args;
  memset(&args, 0, sizeof args);
  args.size = sizeof args;
  return args;
}

#endif  // DYNORM_H
