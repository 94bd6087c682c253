/* Every function, in every type, called in every way, against the same in double. */
#include "tensor.h"

enum { ROWS = 3, MOST_CHANNELS = 300, GAP = 5 };

static const dynorm_element ELEMENTS[] = {DYNORM_F32, DYNORM_F16, DYNORM_BF16};

static void compare(const dynorm_forward_args *args, const void *x, const void *y) {
  for (size_t row = 0; row < args->rows; row++) {
    const char *x_row = (const char *)x + row * args->x_row_stride * size_of(args->x_element);
    for (size_t i = 0; i < args->channels; i++) {
      double wanted = reference(args->norm, x_row, args->x_element, args->channels, i);
      if (args->weight != NULL) {
        wanted *= get(args->weight, args->weight_element, i) + (double)args->weight_offset;
      }
      if (args->bias != NULL) {
        wanted += get(args->bias, args->bias_element, i);
      }
      double given = get(y, args->y_element, row * args->y_row_stride + i);
      CHECK(fabs(given - wanted) <= tolerance(args->y_element, wanted));
    }
    if (row + 1 < args->rows) {
      const char *end = (const char *)y + (row * args->y_row_stride + args->channels) *
                                              size_of(args->y_element);
      size_t gap = (args->y_row_stride - args->channels) * size_of(args->y_element);
      for (size_t i = 0; i < gap; i++) {
        CHECK(end[i] == UNTOUCHED);
      }
    }
  }
}

/* A call out of place in every way, then in place where the types allow it. */
static void check(dynorm_forward_args args) {
  void *x = tensor(args.x_element, ROWS, args.channels, args.x_row_stride);
  fill(x, args.x_element, ROWS, args.channels, args.x_row_stride, 1);
  size_t bytes = ((ROWS - 1) * args.y_row_stride + args.channels) * size_of(args.y_element);
  void *first = NULL;
  args.x = x;
  for (way how = SERIAL; how < WAYS; how = (way)(how + 1)) {
    void *y = tensor(args.y_element, ROWS, args.channels, args.y_row_stride);
    args.y = y;
    run(&args, how);
    if (first == NULL) {
      compare(&args, x, y);
      first = y;
    } else {
      CHECK(memcmp(y, first, bytes) == 0);
      free(y);
    }
  }
  if (args.x_row_stride == args.y_row_stride && size_of(args.x_element) == size_of(args.y_element)) {
    args.y = x;
    run(&args, SERIAL);
    CHECK(memcmp(x, first, bytes) == 0);
  }
  free(first);
  free(x);
}

static void check_all(dynorm_norm norm, size_t channels) {
  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = norm;
  args.rows = ROWS;
  args.channels = channels;
  for (size_t t = 0; t < 9; t++) {
    args.x_element = ELEMENTS[t / 3];
    args.y_element = ELEMENTS[t % 3];
    args.weight_element = ELEMENTS[(t + 1) % 3];
    args.bias_element = ELEMENTS[(t + 2) % 3];
    args.x_row_stride = channels + (t % 2 ? GAP : 0);
    args.y_row_stride = channels + (t % 4 > 1 ? GAP : 0);
    args.weight_offset = t % 2 ? 1.0f : 0.0f;
    void *weight = tensor(args.weight_element, 1, channels, channels);
    void *bias = tensor(args.bias_element, 1, channels, channels);
    fill(weight, args.weight_element, 1, channels, channels, 2);
    fill(bias, args.bias_element, 1, channels, channels, 3);
    for (int given = 0; given < 4; given++) {
      args.weight = given & 1 ? weight : NULL;
      args.bias = given & 2 ? bias : NULL;
      check(args);
    }
    free(weight);
    free(bias);
  }
}

/* Rows without gaps of one type, that of weight and bias too, of any offset: what models call for each token. */
static void check_all_of_one_type(dynorm_norm norm, size_t channels) {
  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = norm;
  args.rows = ROWS;
  args.channels = args.x_row_stride = args.y_row_stride = channels;
  for (size_t t = 0; t < 3; t++) {
    args.x_element = args.y_element = args.weight_element = args.bias_element = ELEMENTS[t];
    void *weight = tensor(ELEMENTS[t], 1, channels, channels), *bias = tensor(ELEMENTS[t], 1, channels, channels);
    fill(weight, ELEMENTS[t], 1, channels, channels, 2);
    fill(bias, ELEMENTS[t], 1, channels, channels, 3);
    args.weight = weight;
    for (int given = 0; given < 4; given++) {
      args.bias = given & 1 ? bias : NULL;
      args.weight_offset = given & 2 ? 1.0f : 0.0f;
      check(args);
    }
    free(weight);
    free(bias);
  }
}

/* What is left at 0 has its default: strides, types of what is not there, instructions. Flags change no bit. */
static void check_defaults(void) {
  float x[2 * 3] = {1, 2, 2, -3, 4, 0}, y[2 * 3];
  dynorm_forward_args args = call_of(dynorm_rms_norm(0.0f), 2, 3, x, y);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  CHECK(fabsf(y[0] - 1.0f / sqrtf(3.0f)) < 1e-6f && fabsf(y[4] - 4.0f / sqrtf(25.0f / 3.0f)) < 1e-6f);

  for (uint32_t flag = 1; flag <= 8; flag *= 2) {
    float again[2 * 3];
    args.flags = flag;
    args.y = again;
    CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
    CHECK(memcmp(y, again, sizeof y) == 0);
  }
}

static void check_isas(void) {
  dynorm_isa current = DYNORM_ISA_CURRENT;
  CHECK_STATUS(dynorm_isa_current(&current), DYNORM_OK);
  CHECK(dynorm_isa_is_available(current) && !dynorm_isa_is_available(DYNORM_ISA_CURRENT));
  for (uint32_t i = 0; i < 7; i++) {
    dynorm_isa isa = (dynorm_isa)i;
    float x[50], y[50];
    dynorm_forward_args args = call_of(dynorm_dyt(0.5f), 1, 50, x, y);
    args.isa = isa;
    fill(x, DYNORM_F32, 1, 50, 50, 5);
    CHECK((dynorm_isa_name(isa) == NULL) == (i == 0 || i > DYNORM_ISA_AVX512_BF16));
    if (dynorm_isa_is_available(isa)) {
      CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
      compare(&args, x, y);
      CHECK_STATUS(dynorm_isa_set_current(isa), DYNORM_OK);
      dynorm_isa chosen;
      CHECK_STATUS(dynorm_isa_current(&chosen), DYNORM_OK);
      CHECK(chosen == isa);
    }
  }
  CHECK_STATUS(dynorm_isa_set_current(current), DYNORM_OK);
}

int main(void) {
  CHECK(dynorm_version() == DYNORM_VERSION);
  static const size_t CHANNELS[] = {1, 37, MOST_CHANNELS};
  for (size_t i = 0; i < sizeof CHANNELS / sizeof *CHANNELS; i++) {
    check_all(dynorm_rms_norm(1e-5f), CHANNELS[i]);
    check_all_of_one_type(dynorm_rms_norm(1e-5f), CHANNELS[i]);
    check_all(dynorm_layer_norm(1e-5f), CHANNELS[i]);
    check_all_of_one_type(dynorm_layer_norm(1e-5f), CHANNELS[i]);
    check_all(dynorm_dyt(0.7f), CHANNELS[i]);
    check_all_of_one_type(dynorm_dyt(0.7f), CHANNELS[i]);
    check_all(dynorm_dyisru(4.0f, 2.0f), CHANNELS[i]);
    check_all_of_one_type(dynorm_dyisru(4.0f, 2.0f), CHANNELS[i]);
    check_all(dynorm_derf(0.7f, 0.25f), CHANNELS[i]);
    check_all_of_one_type(dynorm_derf(0.7f, 0.25f), CHANNELS[i]);
  }
  check_defaults();
  check_isas();
  return 0;
}
