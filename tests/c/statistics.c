/* Statistics of rows: against plain loops, and brought together from shards. */
#include "fused.h"

/* Rows in two shards, as tensor-parallel hosts hold them. */
static void check_statistics(dynorm_norm norm, dynorm_element element) {
  enum { FIRST = 70 };
  void *x = numbers(element, ROWS, CHANNELS, CHANNELS, 11);
  void *second = (char *)x + FIRST * size_of(element);
  float *y = tensor(DYNORM_F32, ROWS, CHANNELS, CHANNELS);
  dynorm_row_statistics a[ROWS], b[ROWS], whole[ROWS];
  dynorm_forward_args shards[2];
  for (size_t s = 0; s < 2; s++) {
    shards[s] = call_of(norm, ROWS, s == 0 ? FIRST : CHANNELS - FIRST, NULL, NULL);
    shards[s].x = s == 0 ? x : second;
    shards[s].y = s == 0 ? y : y + FIRST;
    shards[s].x_element = element;
    shards[s].x_row_stride = shards[s].y_row_stride = CHANNELS;
    CHECK_STATUS(dynorm_row_statistics_compute(&shards[s], s == 0 ? a : b), DYNORM_OK);
  }
  for (size_t row = 0; row < ROWS; row++) {
    double mean = 0, m2 = 0;
    for (size_t i = 0; i < FIRST && norm.function == DYNORM_LAYER_NORM; i++) {
      mean += get(x, element, row * CHANNELS + i) / FIRST;
    }
    for (size_t i = 0; i < FIRST; i++) {
      double distance = get(x, element, row * CHANNELS + i) - mean;
      m2 += distance * distance;
    }
    CHECK(a[row].count == FIRST && fabs((double)a[row].m2 - m2) <= 1e-5 * m2);
    CHECK(fabs((double)a[row].mean + (double)a[row].mean_low - mean) <= 1e-6);
    whole[row] = dynorm_row_statistics_merge(a[row], b[row]);
    CHECK(whole[row].count == CHANNELS);
  }
  for (size_t s = 0; s < 2; s++) {
    shards[s].statistics = whole;
    run(&shards[s], s == 0 ? PARALLEL : PARTS);
  }
  float *wanted = plain(call_of(norm, ROWS, CHANNELS, NULL, NULL), x, element, CHANNELS);
  for (size_t i = 0; i < ROWS * CHANNELS; i++) {
    CHECK(fabs((double)y[i] - (double)wanted[i]) <= tolerance(DYNORM_F32, (double)wanted[i]));
  }
  free(x);
  free(y);
  free(wanted);
}

/* Heads, an instruction set, and no rows. */
static void check_more_statistics(void) {
  float x[2 * 8] = {1, 1, 2, 2, 9, 9, 9, 9, 3, 3, 4, 4, 9, 9, 9, 9};
  dynorm_row_statistics found[4];
  dynorm_forward_args args = call_of(dynorm_rms_norm(0.0f), 4, 2, x, NULL);
  args.heads = 2;
  args.x_token_stride = 8;
  args.isa = DYNORM_ISA_PORTABLE;
  CHECK_STATUS(dynorm_row_statistics_compute(&args, found), DYNORM_OK);
  for (size_t row = 0; row < 4; row++) {
    CHECK(found[row].count == 2 && found[row].m2 == 2.0f * (float)((row + 1) * (row + 1)));
  }
  args.rows = 0;
  args.x = NULL;
  CHECK_STATUS(dynorm_row_statistics_compute(&args, NULL), DYNORM_OK);
}

int main(void) {
  for (size_t e = 0; e < 3; e++) {
    check_statistics(norm_of(0), ELEMENTS[e]);
    check_statistics(norm_of(1), ELEMENTS[e]);
  }
  check_more_statistics();
  return 0;
}
