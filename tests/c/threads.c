/* Several host threads at once: parts of one call, calls of their own, errors of their own, and the
   library's own pool asked from all of them. */
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 20, ROWS = 5, CHANNELS = 1000 };

static float shared_x[ROWS * CHANNELS], shared_y[2][ROWS * CHANNELS], wanted[2][ROWS * CHANNELS];
static pthread_barrier_t barrier;

/* As ggml's threads do: the same call from each, with its index. */
static void part_of_one_call(size_t index) {
  const dynorm_norm norms[2] = {dynorm_layer_norm(1e-5f), dynorm_derf(0.5f, 0.0f)};
  for (int i = 0; i < 2; i++) {
    dynorm_forward_args args = call_of(norms[i], ROWS, CHANNELS, shared_x, shared_y[i]);
    CHECK_STATUS(dynorm_forward_part(&args, index, THREADS), DYNORM_OK);
  }
  pthread_barrier_wait(&barrier);
  if (index == 0) {
    CHECK(memcmp(shared_y, wanted, sizeof wanted) == 0);
    memset(shared_y, 0, sizeof shared_y);
  }
  pthread_barrier_wait(&barrier);
}

static void errors_of_its_own(size_t index) {
  char text[64];
  dynorm_forward_args args = call_of(dynorm_rms_norm(0.0f), ROWS, CHANNELS, shared_x, NULL);
  args.x_row_stride = index + 1;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_ERROR_SHAPE);
  snprintf(text, sizeof text, "input has a row stride of %zu elements", index + 1);
  pthread_barrier_wait(&barrier);
  CHECK(strncmp(dynorm_last_error(), text, strlen(text)) == 0);
}

static void calls_of_its_own(float *y) {
  dynorm_forward_args args = call_of(dynorm_derf(0.5f, 0.0f), ROWS, CHANNELS, shared_x, y);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  CHECK(memcmp(y, wanted[1], sizeof wanted[1]) == 0);
}

/* Large enough to wake the pool. */
static void parallel_calls(void) {
  enum { LARGE = 1 << 20 };
  float *xy = malloc(LARGE * sizeof *xy);
  CHECK(xy != NULL);
  for (size_t i = 0; i < LARGE; i++) {
    xy[i] = (float)(i % 7) - 3.0f;
  }
  dynorm_forward_args args = call_of(dynorm_dyisru(1.0f, 1.0f), 1, LARGE, xy, xy);
  CHECK_STATUS(dynorm_forward_parallel(&args), DYNORM_OK);
  for (size_t i = 0; i < LARGE; i++) {
    CHECK(xy[i] == xy[i % 7] && (xy[i] < 0) == (i % 7 < 3));
  }
  free(xy);
}

static void *work(void *argument) {
  size_t index = *(size_t *)argument;
  float *y = malloc(sizeof wanted[1]);
  CHECK(y != NULL);
  for (int round = 0; round < ROUNDS; round++) {
    part_of_one_call(index);
    errors_of_its_own(index);
    calls_of_its_own(y);
  }
  parallel_calls();
  free(y);
  return NULL;
}

int main(void) {
  uint32_t seed = 9;
  for (size_t i = 0; i < ROWS * CHANNELS; i++) {
    shared_x[i] = number(&seed);
  }
  dynorm_forward_args args = call_of(dynorm_layer_norm(1e-5f), ROWS, CHANNELS, shared_x, wanted[0]);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  args = call_of(dynorm_derf(0.5f, 0.0f), ROWS, CHANNELS, shared_x, wanted[1]);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);

  pthread_t threads[THREADS];
  size_t indices[THREADS];
  CHECK(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
  for (size_t i = 0; i < THREADS; i++) {
    indices[i] = i;
    CHECK(pthread_create(&threads[i], NULL, work, &indices[i]) == 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    CHECK(pthread_join(threads[i], NULL) == 0);
  }
  pthread_barrier_destroy(&barrier);
  return 0;
}
