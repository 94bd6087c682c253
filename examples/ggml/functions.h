/* Functions that both libraries can compute. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "dynorm_ggml.h"

/* x, and one weight and one bias per channel. */
struct inputs {
  struct ggml_tensor *x, *weight, *bias;
};

struct function {
  const char *name;
  dynorm_norm norm;
  /* The nodes that ggml has for it; they want contiguous rows. */
  struct ggml_tensor *(*by_ggml)(struct ggml_context *, const dynorm_norm *, struct inputs);
  /* Whether the bias is used. */
  bool biased;
};

enum { FUNCTIONS = 4 };
extern const struct function functions[FUNCTIONS];

/* The function as one node of dynorm's. */
struct ggml_tensor *by_dynorm(struct ggml_context *context, const struct function *function,
                              struct inputs in);

#endif
