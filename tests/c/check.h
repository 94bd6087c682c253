/* What the test programs share: checks that end the program, calls, and numbers. */
#ifndef CHECK_H
#define CHECK_H

#include "dynorm.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) check_that((condition), #condition, __FILE__, __LINE__)
#define CHECK_STATUS(call, wanted) check_status((call), (wanted), #call, __FILE__, __LINE__)

static inline void check_that(bool holds, const char *what, const char *file, int line) {
  if (!holds) {
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    exit(1);
  }
}

static inline void check_status(dynorm_status given, dynorm_status wanted, const char *what,
                                const char *file, int line) {
  if (given != wanted) {
    fprintf(stderr, "%s:%d: %s gave \"%s\" (%s) instead of \"%s\"\n", file, line, what,
            dynorm_status_string(given), dynorm_last_error(), dynorm_status_string(wanted));
    exit(1);
  }
}

/* A call over f32 rows that follow one another, without weight and bias. */
static inline dynorm_forward_args call_of(dynorm_norm norm, size_t rows, size_t channels, const float *x,
                                          float *y) {
  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = norm;
  args.rows = rows;
  args.channels = channels;
  args.x = x;
  args.y = y;
  args.x_element = args.y_element = DYNORM_F32;
  return args;
}

/* The ways of calling; results have the same bits. */
typedef enum { SERIAL, PARALLEL, PARTS, WAYS } way;

static inline void run(const dynorm_forward_args *args, way how) {
  switch (how) {
    case SERIAL:
      CHECK_STATUS(dynorm_forward(args), DYNORM_OK);
      break;
    case PARALLEL:
      CHECK_STATUS(dynorm_forward_parallel(args), DYNORM_OK);
      break;
    default:
      for (size_t index = 0; index < 4; index++) {
        CHECK_STATUS(dynorm_forward_part(args, index, 4), DYNORM_OK);
      }
  }
}

/* Numbers between -2 and 2 that look random, the same in every run. */
static inline float number(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(*state >> 8) / (float)(1 << 22) - 2.0f;
}

#endif
