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
