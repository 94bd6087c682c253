#include "functions.h"

static struct ggml_tensor *affine(struct ggml_context *context, struct ggml_tensor *y,
                                  struct inputs in) {
  return ggml_add(context, ggml_mul(context, y, in.weight), in.bias);
}

/* ggml's CPU backend computes these two nodes as one. */
static struct ggml_tensor *rms_norm(struct ggml_context *context, const dynorm_norm *norm,
                                    struct inputs in) {
  return ggml_mul(context, ggml_rms_norm(context, in.x, norm->eps), in.weight);
}

static struct ggml_tensor *layer_norm(struct ggml_context *context, const dynorm_norm *norm,
                                      struct inputs in) {
  return affine(context, ggml_norm(context, in.x, norm->eps), in);
}

static struct ggml_tensor *dyt(struct ggml_context *context, const dynorm_norm *norm,
                               struct inputs in) {
  return affine(context, ggml_tanh(context, ggml_scale(context, in.x, norm->alpha)), in);
}

static struct ggml_tensor *dyisru(struct ggml_context *context, const dynorm_norm *norm,
                                  struct inputs in) {
  struct ggml_tensor *square = ggml_scale_bias(context, ggml_sqr(context, in.x), 1, norm->beta);
  struct ggml_tensor *ratio = ggml_div(context, in.x, ggml_sqrt(context, square));
  return affine(context, ggml_scale(context, ratio, norm->scale), in);
}

const struct function functions[FUNCTIONS] = {
    {"RMSNorm", {.function = DYNORM_RMS_NORM, .eps = 1e-5f}, rms_norm, false},
    {"LayerNorm", {.function = DYNORM_LAYER_NORM, .eps = 1e-5f}, layer_norm, true},
    {"DyT", {.function = DYNORM_DYT, .alpha = 0.5f}, dyt, true},
    {"DyISRU", {.function = DYNORM_DYISRU, .beta = 4, .scale = 2}, dyisru, true},
};

struct dynorm_ggml_sum by_dynorm(struct ggml_context *context, const struct function *function,
                                 struct inputs in) {
  struct ggml_tensor *bias = function->biased ? in.bias : NULL;
  if (in.residual) {
    return dynorm_ggml_add(context, &function->norm, in.x, in.residual, in.weight, bias);
  }
  struct ggml_tensor *y = dynorm_ggml(context, &function->norm, in.x, in.weight, bias);
  return (struct dynorm_ggml_sum){.sum = in.x, .y = y};
}

struct dynorm_ggml_sum by_ggml(struct ggml_context *context, const struct function *function,
                               struct inputs in) {
  if (in.residual) {
    in.x = ggml_add(context, in.x, in.residual);
  }
  return (struct dynorm_ggml_sum){.sum = in.x, .y = function->by_ggml(context, &function->norm, in)};
}
