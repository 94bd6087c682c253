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
