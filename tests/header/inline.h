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

// A dynorm_forward_args with its size set and all else at 0, which is each field's default.
static inline dynorm_forward_args dynorm_forward_args_init(void) {
  dynorm_forward_args args;
  memset(&args, 0, sizeof args);
  args.size = sizeof args;
  return args;
}

#endif  // DYNORM_H
