/* Outputs of 8 bits: the plain call's results over the scale, rounded by a plain search; and bounds. */
#include "fused.h"

static const dynorm_element EIGHT_BITS[] = {DYNORM_I8, DYNORM_F8_E4M3};

/* The value of 8 bits that is nearest, the even one of two. */
static double nearest(dynorm_element element, float value) {
  if (element == DYNORM_I8) {
    return rint(fmin(fmax((double)value, -127), 127));
  }
  uint8_t best = 0;
  double magnitude = fabs((double)value);
  for (uint8_t bits = 0; bits < 0x7f; bits++) {
    double distance = fabs(from_f8_e4m3(bits) - magnitude), least = fabs(from_f8_e4m3(best) - magnitude);
    if (distance < least || (distance == least && bits % 2 == 0)) {
      best = bits;
    }
  }
  return value < 0 ? -from_f8_e4m3(best) : from_f8_e4m3(best);
}

static void check_quantized(dynorm_norm norm, dynorm_element element, dynorm_scale mode, way how) {
  /* Of a size that does not divide the channels. */
  size_t size = mode == DYNORM_SCALE_COMPUTED_PER_GROUP ? 6 : CHANNELS, groups = (CHANNELS + size - 1) / size;
  size_t stride = CHANNELS + GAP, scales_wanted = mode == DYNORM_SCALE_GIVEN ? 1 : ROWS * groups;
  int computed = mode == DYNORM_SCALE_COMPUTED || mode == DYNORM_SCALE_COMPUTED_PER_GROUP;
  float *x = numbers(DYNORM_F32, ROWS, CHANNELS, CHANNELS, 5);
  float *weight = numbers(DYNORM_F32, 1, CHANNELS, CHANNELS, 6);
  float *scales = tensor(DYNORM_F32, 1, scales_wanted, scales_wanted);
  void *y = tensor(element, ROWS, CHANNELS, stride);
  dynorm_forward_args args = call_of(norm, ROWS, CHANNELS, x, NULL);
  args.weight = weight;
  args.weight_element = DYNORM_F32;
  args.y = y;
  args.y_element = element;
  args.y_row_stride = stride;
  args.scale_mode = mode;
  args.scales = scales;
  args.scale_group_size = groups == 1 ? 0 : (uint32_t)size;
  for (size_t i = 0; i < scales_wanted && !computed; i++) {
    /* Small enough that some results are out of range. */
    scales[i] = 0.004f * (float)(i + 1);
  }
  run(&args, how);

  float *f = plain(args, x, DYNORM_F32, CHANNELS);
  /* See dynorm_scale. */
  int few_digits = norm.function != DYNORM_RMS_NORM && norm.function != DYNORM_LAYER_NORM;
  float slack = few_digits ? 1.5e-4f : 0;
  for (size_t row = 0; row < ROWS; row++) {
    for (size_t group = 0; group < groups; group++) {
      float scale = scales[mode == DYNORM_SCALE_GIVEN ? 0 : row * groups + group], largest = 0;
      for (size_t i = group * size; i < CHANNELS && i < (group + 1) * size; i++) {
        largest = fmaxf(largest, fabsf(f[row * CHANNELS + i]));
        float value = f[row * CHANNELS + i] * (1.0f / scale);
        double given = get(y, element, row * stride + i);
        double least = nearest(element, value - slack * fabsf(value)), most = nearest(element, value + slack * fabsf(value));
        CHECK(least <= given && given <= most);
      }
      if (computed) {
        CHECK(scale >= dynorm_scale_for(element, largest * (1 - slack)));
        CHECK(scale <= dynorm_scale_for(element, largest * (1 + slack)));
      }
    }
    for (size_t i = CHANNELS; i < stride && row + 1 < ROWS; i++) {
      CHECK(((uint8_t *)y)[row * stride + i] == UNTOUCHED);
    }
  }
  free(x);
  free(weight);
  free(scales);
  free(y);
  free(f);
}

static void check_all_quantized(void) {
  for (size_t n = 0; n < NORMS; n++) {
    for (size_t e = 0; e < 2; e++) {
      for (way how = SERIAL; how < WAYS; how = (way)(how + 1)) {
        check_quantized(norm_of(n), EIGHT_BITS[e], DYNORM_SCALE_GIVEN, how);
        check_quantized(norm_of(n), EIGHT_BITS[e], DYNORM_SCALE_GIVEN_PER_ROW, how);
        check_quantized(norm_of(n), EIGHT_BITS[e], DYNORM_SCALE_COMPUTED, how);
        check_quantized(norm_of(n), EIGHT_BITS[e], DYNORM_SCALE_COMPUTED_PER_GROUP, how);
      }
    }
  }
}

static void check_bounds(void) {
  const float x[] = {1e30f, -1e30f, 1e30f}, weight[] = {1.0f, -2.5f, 0.0f}, bias[] = {0.5f, -1.0f, 8.0f};
  float bound = 0, y[3];
  dynorm_forward_args args = call_of(dynorm_dyisru(0.5f, -3.0f), 1, 3, x, y);
  args.weight_offset = 0.25f;
  CHECK_STATUS(dynorm_output_bound(&args, &bound), DYNORM_OK);
  CHECK(bound == 3.0f);
  args.weight = weight;
  args.weight_element = DYNORM_F32;
  CHECK_STATUS(dynorm_output_bound(&args, &bound), DYNORM_OK);
  CHECK(bound == 6.75f);
  args.bias = bias;
  args.bias_element = DYNORM_F32;
  CHECK_STATUS(dynorm_output_bound(&args, &bound), DYNORM_OK);
  CHECK(bound == 8.75f);

  uint16_t halves[3];
  for (size_t i = 0; i < 3; i++) {
    set(halves, DYNORM_BF16, i, weight[i]);
  }
  args.weight = halves;
  args.weight_element = DYNORM_BF16;
  CHECK_STATUS(dynorm_output_bound(&args, &bound), DYNORM_OK);
  CHECK(bound == 8.75f);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  CHECK(fabsf(y[1] - -7.75f) < 1e-5f && fabsf(y[2] - 7.25f) < 1e-5f);
  CHECK(dynorm_scale_for(DYNORM_I8, bound) == 8.75f / 127.0f);
  CHECK(dynorm_scale_for(DYNORM_F8_E4M3, bound) == 8.75f / 448.0f);
  CHECK(dynorm_scale_for(DYNORM_I8, 0.0f) == ldexpf(1.0f, -126));
}

int main(void) {
  check_all_quantized();
  check_bounds();
  return 0;
}
