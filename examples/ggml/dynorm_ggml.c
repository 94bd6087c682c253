#include "dynorm_ggml.h"

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

/* Called by every thread of the backend: `thread` of `threads` has its part to do. */
static void compute(struct ggml_tensor *y, int thread, int threads, void *norm) {
  const struct ggml_tensor *x = y->src[0], *weight = y->src[1], *bias = y->src[2];

  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = *(const dynorm_norm *)norm;
  args.channels = (size_t)x->ne[0];
  args.rows = (size_t)x->ne[1];
  args.x_row_stride = x->nb[1] / x->nb[0];
  args.y_row_stride = y->nb[1] / y->nb[0];
  args.x_element = element(x);
  args.y_element = element(y);
  args.weight = weight->data;
  args.weight_element = element(weight);
  if (bias) {
    args.bias = bias->data;
    args.bias_element = element(bias);
  }

  /* Rows are at even distances within each plane of the two outer dimensions. */
  for (int64_t i3 = 0; i3 < x->ne[3]; i3++) {
    for (int64_t i2 = 0; i2 < x->ne[2]; i2++) {
      args.x = (const char *)x->data + (size_t)i2 * x->nb[2] + (size_t)i3 * x->nb[3];
      args.y = (char *)y->data + (size_t)i2 * y->nb[2] + (size_t)i3 * y->nb[3];
      if (dynorm_forward_part(&args, (size_t)thread, (size_t)threads) != DYNORM_OK) {
        GGML_ABORT("dynorm: %s", dynorm_last_error());
      }
    }
  }
}

struct ggml_tensor *dynorm_ggml(struct ggml_context *context, const dynorm_norm *norm,
                                struct ggml_tensor *x, struct ggml_tensor *weight,
                                struct ggml_tensor *bias) {
  GGML_ASSERT(x->nb[0] == ggml_type_size(x->type) && x->nb[1] % x->nb[0] == 0);
  GGML_ASSERT(ggml_is_contiguous(weight) && ggml_nelements(weight) == x->ne[0]);
  GGML_ASSERT(!bias || (ggml_is_contiguous(bias) && ggml_nelements(bias) == x->ne[0]));
  struct ggml_tensor *sources[] = {x, weight, bias};
  /* ggml hands the pointer on to `compute`, which only reads from it. */
  return ggml_custom_4d(context, x->type, x->ne[0], x->ne[1], x->ne[2], x->ne[3], sources,
                        bias ? 3 : 2, compute, GGML_N_TASKS_MAX, (void *)norm);
}
