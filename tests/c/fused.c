/* Residual and gate: against the plain call, whose bits a residual must give, and plain loops. */
#include "fused.h"

static void check_residual(dynorm_norm norm, dynorm_element x_element, dynorm_element element, way how,
                           bool apart, bool over_x) {
  size_t stride = CHANNELS + GAP, sum_stride = apart ? CHANNELS : stride;
  void *x = numbers(x_element, ROWS, CHANNELS, CHANNELS, 1);
  void *before = numbers(element, ROWS, CHANNELS, stride, 2);
  void *residual = numbers(element, ROWS, CHANNELS, stride, 2);
  void *sum = apart ? tensor(element, ROWS, CHANNELS, CHANNELS) : residual;
  void *kept = numbers(x_element, ROWS, CHANNELS, CHANNELS, 1);
  float *y = over_x ? x : tensor(DYNORM_F32, ROWS, CHANNELS, CHANNELS);

  dynorm_forward_args args = call_of(norm, ROWS, CHANNELS, x, y);
  args.x_element = x_element;
  args.residual = residual;
  args.residual_element = element;
  args.residual_row_stride = stride;
  if (apart) {
    args.residual_sum = sum;
    args.residual_sum_row_stride = sum_stride;
  }
  run(&args, how);

  for (size_t row = 0; row < ROWS; row++) {
    for (size_t i = 0; i < CHANNELS; i++) {
      double r = get(before, element, row * stride + i);
      double wanted = get(kept, x_element, row * CHANNELS + i) + r;
      CHECK(fabs(get(sum, element, row * sum_stride + i) - wanted) <= tolerance(element, wanted));
      CHECK(!apart || get(residual, element, row * stride + i) == r);
    }
  }
  float *wanted = plain(args, sum, element, sum_stride);
  CHECK(memcmp(y, wanted, sizeof(float[ROWS * CHANNELS])) == 0);
  if (!over_x) {
    CHECK(memcmp(x, kept, ROWS * CHANNELS * size_of(x_element)) == 0);
    free(y);
  }
  if (apart) {
    free(sum);
  }
  free(x);
  free(before);
  free(residual);
  free(kept);
  free(wanted);
}

static void check_residuals(void) {
  for (size_t n = 0; n < NORMS; n++) {
    for (size_t t = 0; t < 9; t++) {
      check_residual(norm_of(n), ELEMENTS[t / 3], ELEMENTS[t % 3], (way)(t % WAYS), t % 2 == 0, false);
      check_residual(norm_of(n), ELEMENTS[t / 3], ELEMENTS[t % 3], (way)((t + 1) % WAYS), t % 2 == 1, false);
    }
    check_residual(norm_of(n), DYNORM_F32, DYNORM_BF16, PARTS, false, true);
  }
}

/* The sum may be told to go where the residual is. */
static void check_sum_in_place(void) {
  float x[] = {1, 2}, residual[] = {3, -4}, y[2];
  dynorm_forward_args args = call_of(dynorm_dyt(1.0f), 1, 2, x, y);
  args.residual = args.residual_sum = residual;
  args.residual_element = DYNORM_F32;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  CHECK(residual[0] == 4 && residual[1] == -2);
}

static void check_gates(void) {
  for (size_t n = 0; n < NORMS; n++) {
    for (size_t t = 0; t < 9; t++) {
      dynorm_element z_element = ELEMENTS[t / 3], y_element = ELEMENTS[t % 3];
      float *x = numbers(DYNORM_F32, ROWS, CHANNELS, CHANNELS, 3);
      void *z = numbers(z_element, ROWS, CHANNELS, CHANNELS + GAP, 4);
      void *y = tensor(y_element, ROWS, CHANNELS, CHANNELS);
      dynorm_forward_args args = call_of(norm_of(n), ROWS, CHANNELS, x, NULL);
      args.y = y;
      args.y_element = y_element;
      args.z = z;
      args.z_element = z_element;
      args.z_row_stride = CHANNELS + GAP;
      run(&args, (way)(t % WAYS));
      float *f = plain(args, x, DYNORM_F32, CHANNELS);
      for (size_t i = 0; i < ROWS * CHANNELS; i++) {
        double gate = get(z, z_element, i / CHANNELS * (CHANNELS + GAP) + i % CHANNELS);
        double wanted = (double)f[i] * gate / (1 + exp(-gate));
        CHECK(fabs(get(y, y_element, i) - wanted) <= tolerance(y_element, wanted));
      }
      free(x);
      free(z);
      free(y);
      free(f);
    }
  }
}

/* No rows: no address is looked at. */
static void check_no_rows(void) {
  dynorm_forward_args args = call_of(dynorm_layer_norm(0.0f), 0, 8, NULL, NULL);
  float nowhere[1];
  args.y_element = DYNORM_I8;
  args.heads = 2;
  for (dynorm_scale mode = DYNORM_SCALE_GIVEN; mode <= DYNORM_SCALE_COMPUTED_PER_GROUP; mode++) {
    args.scale_mode = mode;
    args.scale_group_size = mode == DYNORM_SCALE_COMPUTED_PER_GROUP ? 4 : 0;
    CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  }
  args.residual = args.residual_sum = nowhere;
  args.z = (char *)nowhere + 1;
  args.residual_element = args.z_element = DYNORM_F32;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
}

int main(void) {
  check_residuals();
  check_sum_in_place();
  check_gates();
  check_no_rows();
  return 0;
}
