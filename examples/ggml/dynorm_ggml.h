/* dynorm's functions as nodes of a ggml graph. */
#ifndef DYNORM_GGML_H
#define DYNORM_GGML_H

#include "dynorm.h"
#include "ggml.h"

/* A node of x's type and shape: norm over the first dimension of x, which holds the channels, times
 * weight, plus bias. x, weight and bias are f32, f16 or bf16, each on its own; channels lie side by
 * side, rows may have gaps. weight has one element per channel, and so has bias, which may be NULL.
 *
 * The CPU backend computes it, each of its threads a part. `norm` is read then: it must be alive
 * until the graph has been computed for the last time. What dynorm refuses ends the program, as
 * failed assertions of ggml do. */
struct ggml_tensor *dynorm_ggml(struct ggml_context *context, const dynorm_norm *norm,
                                struct ggml_tensor *x, struct ggml_tensor *weight,
                                struct ggml_tensor *bias);

/* What dynorm_ggml_add makes, each of x's type and shape: views of one node, whose memory is kept as long as either is used. */
struct dynorm_ggml_sum {
  struct ggml_tensor *sum, *y;
};

/* sum = x + residual, rounded to their type, and y = dynorm_ggml of it, in one pass: what stands between the parts of a
 * transformer's block. residual has x's type and shape; its rows may have gaps, too. */
struct dynorm_ggml_sum dynorm_ggml_add(struct ggml_context *context, const dynorm_norm *norm, struct ggml_tensor *x,
                                       struct ggml_tensor *residual, struct ggml_tensor *weight,
                                       struct ggml_tensor *bias);

#endif
