/* Functions that both libraries can compute. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include "dynorm_ggml.h"

/* x, a residual of its shape or NULL, and one weight and one bias per channel. */
struct inputs {
  struct ggml_tensor *x, *residual, *weight, *bias;
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

/* The function as one node of dynorm's; with a residual the sum is made by it, too. */
struct dynorm_ggml_sum by_dynorm(struct ggml_context *context, const struct function *function,
                                 struct inputs in);
/* The same by ggml's nodes. Without a residual the sum is x. */
struct dynorm_ggml_sum by_ggml(struct ggml_context *context, const struct function *function,
                               struct inputs in);

#endif
