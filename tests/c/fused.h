/* What the programs share that look at what a call does beside the function. */
#ifndef FUSED_H
#define FUSED_H

#include "tensor.h"

enum { ROWS = 12, CHANNELS = 150, GAP = 5, NORMS = 5 };

static const dynorm_element ELEMENTS[] = {DYNORM_F32, DYNORM_F16, DYNORM_BF16};

/* The functions by number, from 0; RMSNorm and LayerNorm first. */
static inline dynorm_norm norm_of(size_t n) {
  const dynorm_norm norms[NORMS] = {dynorm_rms_norm(1e-5f), dynorm_layer_norm(1e-5f), dynorm_dyt(0.7f),
                                    dynorm_dyisru(4.0f, 2.0f), dynorm_derf(0.7f, 0.25f)};
  return norms[n];
}

/* Rows of numbers, of exactly the memory that they take. */
static inline void *numbers(dynorm_element element, size_t rows, size_t channels, size_t stride, uint32_t seed) {
  void *data = tensor(element, rows, channels, stride);
  fill(data, element, rows, channels, stride, seed);
  return data;
}

/* The f32 results of the call without anything fused, of which values.c sees that they are right. */
static inline float *plain(dynorm_forward_args args, const void *x, dynorm_element element, size_t stride) {
  float *y = tensor(DYNORM_F32, args.rows, args.channels, args.channels);
  dynorm_forward_args call = call_of(args.norm, args.rows, args.channels, x, y);
  call.x_element = element;
  call.x_row_stride = stride;
  call.weight = args.weight;
  call.weight_element = args.weight_element;
  CHECK_STATUS(dynorm_forward(&call), DYNORM_OK);
  return y;
}

#endif
