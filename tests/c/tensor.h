/* Tensors of every element type, and the functions in double. */
#ifndef TENSOR_H
#define TENSOR_H

#include "check.h"
#include <math.h>

static inline size_t size_of(dynorm_element element) {
  return element == DYNORM_F32 ? 4 : element >= DYNORM_I8 ? 1 : 2;
}

static inline float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static inline float from_f16(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float magnitude = exponent == 0 ? ldexpf((float)fraction, -24)
                                  : ldexpf((float)(fraction + 1024), exponent - 25);
  return bits >> 15 ? -magnitude : magnitude;
}

static inline double from_f8_e4m3(uint8_t bits) {
  int exponent = bits >> 3 & 15, fraction = bits & 7;
  double magnitude = exponent == 0 ? ldexp(fraction, -9) : ldexp(fraction + 8, exponent - 10);
  return bits >> 7 ? -magnitude : magnitude;
}

static inline double get(const void *data, dynorm_element element, size_t i) {
  uint16_t half;
  float single;
  if (element == DYNORM_I8) {
    return ((const int8_t *)data)[i];
  }
  if (element == DYNORM_F8_E4M3) {
    return from_f8_e4m3(((const uint8_t *)data)[i]);
  }
  if (element == DYNORM_F32) {
    memcpy(&single, (const char *)data + 4 * i, 4);
    return (double)single;
  }
  memcpy(&half, (const char *)data + 2 * i, 2);
  return (double)(element == DYNORM_F16 ? from_f16(half) : from_bits((uint32_t)half << 16));
}

/* Values of the upper bits alone are the same in every type: no rounding is needed. */
static inline void set(void *data, dynorm_element element, size_t i, float value) {
  uint32_t bits;
  uint16_t half;
  value = roundf(value * 64.0f) / 64.0f;
  memcpy(&bits, &value, 4);
  if (element == DYNORM_F32) {
    memcpy((char *)data + 4 * i, &value, 4);
    return;
  }
  if (element == DYNORM_BF16) {
    half = (uint16_t)(bits >> 16);
  } else if (value == 0.0f) {
    half = 0;
  } else {
    half = (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 13 & 0x3ffff) - (112u << 10)));
  }
  memcpy((char *)data + 2 * i, &half, 2);
}

enum { UNTOUCHED = 0x5a };

/* Memory of exactly the size that a tensor of rows has, so that a checker sees a step beyond. */
static inline void *tensor(dynorm_element element, size_t rows, size_t channels, size_t stride) {
  size_t bytes = ((rows - 1) * stride + channels) * size_of(element);
  void *data = malloc(bytes);
  CHECK(data != NULL);
  memset(data, UNTOUCHED, bytes);
  return data;
}

static inline void fill(void *data, dynorm_element element, size_t rows, size_t channels, size_t stride,
                 uint32_t seed) {
  for (size_t row = 0; row < rows; row++) {
    for (size_t i = 0; i < channels; i++) {
      set(data, element, row * stride + i, number(&seed));
    }
  }
}

/* f of element i of a row. */
static inline double reference(dynorm_norm norm, const void *row, dynorm_element element,
                               size_t channels, size_t i) {
  double x = get(row, element, i), mean = 0, square = 0;
  switch (norm.function) {
    case DYNORM_DYT:
      return tanh((double)norm.alpha * x);
    case DYNORM_DYISRU:
      return (double)norm.scale * x / sqrt((double)norm.beta + x * x);
    case DYNORM_DERF:
      return erf((double)norm.alpha * x + (double)norm.shift);
    case DYNORM_LAYER_NORM:
      for (size_t j = 0; j < channels; j++) {
        mean += get(row, element, j) / (double)channels;
      }
      break;
    default:
      break;
  }
  for (size_t j = 0; j < channels; j++) {
    double distance = get(row, element, j) - mean;
    square += distance * distance / (double)channels;
  }
  return (x - mean) / sqrt(square + (double)norm.eps);
}

/* What rounding to an element may make of y. The functions' own errors are far smaller than these
   bounds; Rust's tests look at those. */
static inline double tolerance(dynorm_element element, double y) {
  double relative = element == DYNORM_F32 ? 1e-5 : element == DYNORM_F16 ? 1e-3 : 8e-3;
  return relative * (fabs(y) + 0.1);
}

#endif
