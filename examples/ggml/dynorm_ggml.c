#include "dynorm_ggml.h"

/* The inputs of a node, in this order; residual and bias may be NULL. */
struct sources {
  const struct ggml_tensor *x, *residual, *weight, *bias;
};

static dynorm_element element(const struct ggml_tensor *tensor) {
  switch (tensor->type) {
  case GGML_TYPE_F32:
    return DYNORM_F32;
  case GGML_TYPE_F16:
    return DYNORM_F16;
  case GGML_TYPE_BF16:
    return DYNORM_BF16;
  default:
    GGML_ABORT("dynorm takes no tensors of type %s", ggml_type_name(tensor->type));
  }
}

/* Part `thread` of `threads` of the node y. With a residual the sums are its first half, and the results its second. */
static void run(struct ggml_tensor *y, struct sources from, int thread, int threads, const dynorm_norm *norm) {
  const struct ggml_tensor *x = from.x, *residual = from.residual;
  char *sums = y->data, *results = residual ? sums + y->nb[3] : sums;

  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = *norm;
  args.channels = (size_t)x->ne[0];
  args.rows = (size_t)x->ne[1];
  args.x_row_stride = x->nb[1] / x->nb[0];
  args.y_row_stride = y->nb[1] / y->nb[0];
  args.x_element = element(x);
  args.y_element = element(y);
  args.weight = from.weight->data;
  args.weight_element = element(from.weight);
  if (from.bias) {
    args.bias = from.bias->data;
    args.bias_element = element(from.bias);
  }
  if (residual) {
    args.residual_element = element(residual);
    args.residual_row_stride = residual->nb[1] / residual->nb[0];
    args.residual_sum_row_stride = args.y_row_stride;
  }

  /* Rows are at even distances within each plane of the two outer dimensions. */
  for (int64_t i3 = 0; i3 < x->ne[3]; i3++) {
    for (int64_t i2 = 0; i2 < x->ne[2]; i2++) {
      size_t plane = (size_t)(i3 * x->ne[2] + i2) * y->nb[2];
      args.x = (const char *)x->data + (size_t)i2 * x->nb[2] + (size_t)i3 * x->nb[3];
      args.y = results + plane;
      if (residual) {
        args.residual = (char *)residual->data + (size_t)i2 * residual->nb[2] + (size_t)i3 * residual->nb[3];
        args.residual_sum = sums + plane;
      }
      if (dynorm_forward_part(&args, (size_t)thread, (size_t)threads) != DYNORM_OK) {
        GGML_ABORT("dynorm: %s", dynorm_last_error());
      }
    }
  }
}

/* Called by every thread of the backend: `thread` of `threads` has its part to do. */
static void compute(struct ggml_tensor *y, int thread, int threads, void *norm) {
  struct sources from = {y->src[0], NULL, y->src[1], y->src[2]};
  run(y, from, thread, threads, norm);
}

static void compute_add(struct ggml_tensor *y, int thread, int threads, void *norm) {
  struct sources from = {y->src[0], y->src[1], y->src[2], y->src[3]};
  run(y, from, thread, threads, norm);
}

static void check(const struct ggml_tensor *x, const struct ggml_tensor *weight, const struct ggml_tensor *bias) {
  GGML_ASSERT(x->nb[0] == ggml_type_size(x->type) && x->nb[1] % x->nb[0] == 0);
  GGML_ASSERT(ggml_is_contiguous(weight) && ggml_nelements(weight) == x->ne[0]);
  GGML_ASSERT(!bias || (ggml_is_contiguous(bias) && ggml_nelements(bias) == x->ne[0]));
}

struct ggml_tensor *dynorm_ggml(struct ggml_context *context, const dynorm_norm *norm, struct ggml_tensor *x,
                                struct ggml_tensor *weight, struct ggml_tensor *bias) {
  check(x, weight, bias);
  struct ggml_tensor *sources[] = {x, weight, bias};
  /* ggml hands the pointer on to `compute`, which only reads from it. */
  return ggml_custom_4d(context, x->type, x->ne[0], x->ne[1], x->ne[2], x->ne[3], sources, bias ? 3 : 2, compute,
                        GGML_N_TASKS_MAX, (void *)norm);
}

struct dynorm_ggml_sum dynorm_ggml_add(struct ggml_context *context, const dynorm_norm *norm, struct ggml_tensor *x,
                                       struct ggml_tensor *residual, struct ggml_tensor *weight,
                                       struct ggml_tensor *bias) {
  check(x, weight, bias);
  GGML_ASSERT(ggml_are_same_shape(x, residual) && x->type == residual->type);
  GGML_ASSERT(residual->nb[0] == x->nb[0] && residual->nb[1] % residual->nb[0] == 0);
  struct ggml_tensor *sources[] = {x, residual, weight, bias};
  /* A node has one tensor, so both results are halves of it. */
  struct ggml_tensor *both = ggml_custom_4d(context, x->type, x->ne[0], x->ne[1], x->ne[2] * x->ne[3], 2, sources,
                                            bias ? 4 : 3, compute_add, GGML_N_TASKS_MAX, (void *)norm);
  size_t row = both->nb[1], plane = both->nb[2], block = plane * (size_t)x->ne[2];
  return (struct dynorm_ggml_sum){
      .sum = ggml_view_4d(context, both, x->ne[0], x->ne[1], x->ne[2], x->ne[3], row, plane, block, 0),
      .y = ggml_view_4d(context, both, x->ne[0], x->ne[1], x->ne[2], x->ne[3], row, plane, block, both->nb[3]),
  };
}
