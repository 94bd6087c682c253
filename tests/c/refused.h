/* Calls that are refused: a status, a text that says what is wrong, and nothing written. */
#ifndef REFUSED_H
#define REFUSED_H

#include "check.h"

enum { ROWS = 4, CHANNELS = 8, MORE = 64 };

static float x[ROWS * CHANNELS + MORE], y[ROWS * CHANNELS + MORE], weight[2 * CHANNELS], bias[2 * CHANNELS];
/* What a call may write beside y. */
static struct {
  float residual[ROWS * CHANNELS + MORE], sum[ROWS * CHANNELS + MORE], scales[ROWS + MORE];
} more;

/* A call with a weight and a bias. */
static inline dynorm_forward_args plain_call(void) {
  dynorm_forward_args args = call_of(dynorm_rms_norm(1e-5f), ROWS, CHANNELS, x, y);
  args.weight = weight;
  args.bias = bias;
  args.weight_element = args.bias_element = DYNORM_F32;
  return args;
}

/* The call is refused in each of its forms, for the reason that `said` is a part of. */
static inline void refused(const dynorm_forward_args *args, dynorm_status status, const char *said) {
  float before[sizeof y / sizeof *y];
  char more_before[sizeof more];
  memcpy(before, y, sizeof y);
  memcpy(more_before, &more, sizeof more);
  for (int form = 0; form < 3; form++) {
    dynorm_status given = form == 0   ? dynorm_forward(args)
                          : form == 1 ? dynorm_forward_parallel(args)
                                      : dynorm_forward_part(args, 0, 2);
    if (given != status || strstr(dynorm_last_error(), said) == NULL) {
      fprintf(stderr, "\"%s\" (%s) instead of \"%s\" (%s)\n", dynorm_status_string(given),
              dynorm_last_error(), dynorm_status_string(status), said);
      exit(1);
    }
  }
  CHECK(memcmp(before, y, sizeof y) == 0 && memcmp(more_before, &more, sizeof more) == 0);
}

/* The same for the call that good() gives, with one thing changed. */
#define REFUSED(change, status, said) \
  do {                                \
    dynorm_forward_args args = good(); \
    change;                           \
    refused(&args, status, said);     \
  } while (0)

#define ACCEPTED(change)                              \
  do {                                                \
    dynorm_forward_args args = good();                \
    change;                                           \
    CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);   \
  } while (0)

static inline float *byte_after(float *data) {
  return (float *)(void *)((char *)data + 1);
}

#endif
