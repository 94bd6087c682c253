/* Gradients: against the slope of the function in double, in every way, and what is refused. */
#include "fused.h"

enum { HEADS = 3 };

static const size_t PARAMETERS[NORMS] = {0, 0, 1, 2, 2};

/* A call with everything that it writes, of exactly the memory that it takes. */
typedef struct {
  dynorm_backward_args args;
  float by[2];
} gradients;

static void *new_floats(size_t count) {
  return tensor(DYNORM_F32, 1, count, count);
}

static gradients *new_call(size_t n, dynorm_element element, const void *x, const void *dy) {
  gradients *call = malloc(sizeof *call);
  CHECK(call != NULL);
  dynorm_backward_args args = dynorm_backward_args_init();
  args.norm = norm_of(n);
  args.rows = ROWS;
  args.channels = CHANNELS;
  args.x = x;
  args.dy = dy;
  args.dx = tensor(element, ROWS, CHANNELS, CHANNELS + GAP);
  args.dx_row_stride = CHANNELS + GAP;
  args.element = element;
  args.d_weight = new_floats(CHANNELS);
  args.d_bias = new_floats(CHANNELS);
  args.d_parameters = PARAMETERS[n] > 0 ? call->by : NULL;
  CHECK_STATUS(dynorm_backward_workspace(&args, &args.workspace_len), DYNORM_OK);
  CHECK(args.workspace_len >= 2 * CHANNELS);
  args.workspace = new_floats(args.workspace_len);
  call->args = args;
  return call;
}

static void free_call(gradients *call) {
  free(call->args.dx);
  free(call->args.d_weight);
  free(call->args.d_bias);
  free(call->args.workspace);
  free(call);
}

/* The sum of dy times the function of a row of doubles. */
static double loss(dynorm_norm norm, const double *x, const double *df) {
  double mean = 0, square = 0, sum = 0;
  bool is_row = norm.function == DYNORM_RMS_NORM || norm.function == DYNORM_LAYER_NORM;
  for (size_t i = 0; i < CHANNELS && norm.function == DYNORM_LAYER_NORM; i++) {
    mean += x[i] / CHANNELS;
  }
  for (size_t i = 0; i < CHANNELS && is_row; i++) {
    square += (x[i] - mean) * (x[i] - mean) / CHANNELS;
  }
  for (size_t i = 0; i < CHANNELS; i++) {
    double z = (double)norm.alpha * x[i];
    double f = norm.function == DYNORM_DYT      ? tanh(z)
               : norm.function == DYNORM_DERF   ? erf(z + (double)norm.shift)
               : norm.function == DYNORM_DYISRU ? (double)norm.scale * x[i] / sqrt((double)norm.beta + x[i] * x[i])
                                                : (x[i] - mean) / sqrt(square + (double)norm.eps);
    sum += df[i] * f;
  }
  return sum;
}

/* All gradients of one call, by how much the loss changes. */
static void compare(const gradients *call, size_t n, dynorm_element element) {
  const dynorm_backward_args *args = &call->args;
  double d_weight[CHANNELS] = {0}, d_bias[CHANNELS] = {0}, by[2] = {0, 0};
  for (size_t row = 0; row < ROWS; row++) {
    double x[CHANNELS], df[CHANNELS];
    const char *x_row = (const char *)args->x + row * CHANNELS * size_of(element);
    for (size_t i = 0; i < CHANNELS; i++) {
      double dy = get(args->dy, element, row * CHANNELS + i);
      x[i] = get(args->x, element, row * CHANNELS + i);
      df[i] = dy * ((double)args->weight_offset + get(args->weight, args->weight_element, i));
      d_bias[i] += dy;
      d_weight[i] += dy * reference(args->norm, x_row, element, CHANNELS, i);
    }
    for (size_t i = 0; i < CHANNELS; i++) {
      double at = x[i], step = 1e-5, more, less;
      x[i] = at + step;
      more = loss(args->norm, x, df);
      x[i] = at - step;
      less = loss(args->norm, x, df);
      x[i] = at;
      double given = get(args->dx, element, row * args->dx_row_stride + i);
      double wanted = (more - less) / (2 * step);
      CHECK(fabs(given - wanted) <= tolerance(element, wanted));
    }
    for (size_t k = 0; k < PARAMETERS[n]; k++) {
      dynorm_norm more = args->norm, less = args->norm;
      float step = 1.0f / 512;
      float *up = n == 2 || n == 4 ? (k == 0 ? &more.alpha : &more.shift) : (k == 0 ? &more.beta : &more.scale);
      float *down = n == 2 || n == 4 ? (k == 0 ? &less.alpha : &less.shift) : (k == 0 ? &less.beta : &less.scale);
      *up += step;
      *down -= step;
      by[k] += (loss(more, x, df) - loss(less, x, df)) / (double)(2 * step);
    }
  }
  for (size_t i = 0; i < CHANNELS; i++) {
    CHECK(fabs((double)args->d_weight[i] - d_weight[i]) <= tolerance(DYNORM_F32, ROWS));
    CHECK(fabs((double)args->d_bias[i] - d_bias[i]) <= tolerance(DYNORM_F32, ROWS));
  }
  for (size_t k = 0; k < PARAMETERS[n]; k++) {
    CHECK(fabs((double)call->by[k] - by[k]) <= 1e-3 * (1 + fabs(by[k])));
  }
}

static void check(size_t n, dynorm_element element) {
  void *x = numbers(element, ROWS, CHANNELS, CHANNELS, 3);
  void *dy = numbers(element, ROWS, CHANNELS, CHANNELS, 4);
  void *weight = numbers(DYNORM_BF16, 1, CHANNELS, CHANNELS, 5);
  gradients *serial = new_call(n, element, x, dy), *parallel = new_call(n, element, x, dy);
  serial->args.weight = parallel->args.weight = weight;
  serial->args.weight_element = parallel->args.weight_element = DYNORM_BF16;
  serial->args.weight_offset = parallel->args.weight_offset = 1;
  CHECK_STATUS(dynorm_backward(&serial->args), DYNORM_OK);
  compare(serial, n, element);
  CHECK_STATUS(dynorm_backward_parallel(&parallel->args), DYNORM_OK);
  size_t row = (CHANNELS + GAP) * size_of(element);
  CHECK(memcmp(serial->args.dx, parallel->args.dx, (ROWS - 1) * row + CHANNELS * size_of(element)) == 0);
  CHECK(memcmp(serial->args.d_weight, parallel->args.d_weight, CHANNELS * sizeof(float)) == 0);
  CHECK(memcmp(serial->by, parallel->by, PARAMETERS[n] * sizeof(float)) == 0);

  /* In place, as heads that follow one another, and nothing but dx. */
  dynorm_backward_args args = serial->args;
  args.dx = dy;
  args.dx_row_stride = 0;
  args.heads = HEADS;
  args.d_weight = args.d_bias = args.d_parameters = args.workspace = NULL;
  args.workspace_len = 1;
  CHECK_STATUS(dynorm_backward_workspace(&args, &args.workspace_len), DYNORM_OK);
  CHECK(args.workspace_len == 0);
  CHECK_STATUS(dynorm_backward(&args), DYNORM_OK);
  for (size_t i = 0; i < ROWS; i++) {
    CHECK(memcmp((char *)dy + i * CHANNELS * size_of(element), (char *)serial->args.dx + i * row,
                 CHANNELS * size_of(element)) == 0);
  }
  free_call(serial);
  free_call(parallel);
  free(x);
  free(dy);
  free(weight);
}

/* The call is refused in both of its forms, and nothing is written. */
static void refused(dynorm_backward_args args, dynorm_status status, const char *said) {
  for (int form = 0; form < 2; form++) {
    CHECK_STATUS(form == 0 ? dynorm_backward(&args) : dynorm_backward_parallel(&args), status);
    if (strstr(dynorm_last_error(), said) == NULL) {
      fprintf(stderr, "%s instead of %s\n", dynorm_last_error(), said);
      exit(1);
    }
  }
}

#define REFUSED(change, status, said)     \
  do {                                    \
    dynorm_backward_args args = good;     \
    change;                               \
    refused(args, status, said);          \
  } while (0)

static void check_refusals(void) {
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, dy[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, dx[8] = {7}, weight[4] = {1, 1, 1, 1};
  float d_weight[4] = {7}, d_bias[4] = {7}, by[1] = {7}, workspace[64];
  size_t len = 99;
  dynorm_backward_args good = dynorm_backward_args_init();
  good.norm = dynorm_dyt(0.5f);
  good.rows = 2;
  good.channels = 4;
  good.x = x;
  good.dy = dy;
  good.dx = dx;
  good.weight = weight;
  good.element = good.weight_element = DYNORM_F32;
  good.d_weight = d_weight;
  good.d_bias = d_bias;
  good.d_parameters = by;
  good.workspace = workspace;
  good.workspace_len = 64;

  CHECK_STATUS(dynorm_backward(NULL), DYNORM_ERROR_NULL);
  CHECK_STATUS(dynorm_backward_workspace(&good, NULL), DYNORM_ERROR_NULL);
  REFUSED(args.size = 16, DYNORM_ERROR_STRUCT_SIZE, "sizeof(dynorm_backward_args)");
  CHECK_STATUS((good.size = 16, dynorm_backward_workspace(&good, &len)), DYNORM_ERROR_STRUCT_SIZE);
  CHECK(len == 99);
  good.size = sizeof good;
  REFUSED(args.norm.alpha = INFINITY, DYNORM_ERROR_PARAMETER, "alpha is inf");
  REFUSED(args.element = DYNORM_I8, DYNORM_ERROR_VALUE, "args.element");
  REFUSED(args.channels = 0, DYNORM_ERROR_SHAPE, "0 channels");
  REFUSED(args.dy_row_stride = 3, DYNORM_ERROR_SHAPE, "gradient of the output has a row stride of 3");
  REFUSED(args.heads = 3, DYNORM_ERROR_SHAPE, "args.rows is 2");
  REFUSED(args.workspace_len = 8, DYNORM_ERROR_SHAPE, "workspace has 8 elements");
  REFUSED(args.workspace = NULL, DYNORM_ERROR_SHAPE, "workspace has 0 elements");
  REFUSED(args.dx = NULL, DYNORM_ERROR_NULL, "gradient of the input is at 0x0");
  REFUSED(args.x = (char *)x + 1, DYNORM_ERROR_ALIGNMENT, "input is at 0x");
  REFUSED(args.dx = x, DYNORM_ERROR_OVERLAP, "gradient of the input overlaps input");
  REFUSED(args.dx = dy + 1, DYNORM_ERROR_OVERLAP, "gradient of the input overlaps gradient of the output");
  REFUSED(args.d_weight = weight, DYNORM_ERROR_OVERLAP, "gradient of the weight");
  REFUSED(args.d_bias = d_weight, DYNORM_ERROR_OVERLAP, "gradient of the weight");
  REFUSED((args.rows = 0, args.d_bias = d_weight), DYNORM_ERROR_OVERLAP, "gradient of the weight");
  REFUSED(args.workspace = dy, DYNORM_ERROR_OVERLAP, "overlaps");
  REFUSED(args.norm = dynorm_rms_norm(0), DYNORM_ERROR_VALUE, "args.d_parameters is set");
  REFUSED(args.norm.reserved[0] = 1, DYNORM_ERROR_UNSUPPORTED, "args.norm.reserved");
  CHECK(dx[0] == 7 && d_weight[0] == 7 && d_bias[0] == 7 && by[0] == 7);

  /* Without rows the sums are empty, and no other address is looked at. */
  good.rows = 0;
  good.x = good.dy = NULL;
  good.dx = NULL;
  CHECK_STATUS(dynorm_backward(&good), DYNORM_OK);
  CHECK(d_weight[0] == 0 && d_bias[0] == 0 && by[0] == 0);
}

int main(void) {
  for (size_t n = 0; n < NORMS; n++) {
    for (size_t e = 0; e < 3; e++) {
      check(n, ELEMENTS[e]);
    }
  }
  check_refusals();
  return 0;
}
