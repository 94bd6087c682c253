/* What a CUDA call through dynorm's C interface costs the thread that makes it: microseconds until
 * it returns, the kernel being on the stream. One JSON line per shape. Run by run.py.
 *
 *   cc -O2 -I include c_call.c -L FOLDER -ldynorm -ldl -o c_call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <dynorm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The queue of a stream holds about a thousand kernels: fewer a round, so that none waits. */
enum { CALLS = 200, ROUNDS = 25 };

static void *driver;

/* Calls a function of the CUDA driver by its name. */
#define CUDA(name, parameters, arguments)                                                        \
  do {                                                                                           \
    int(*call) parameters;                                                                       \
    *(void **)&call = dlsym(driver, #name);                                                      \
    const int result = call ? call arguments : -1;                                               \
    if (result != 0) {                                                                           \
      fprintf(stderr, #name ": %d\n", result);                                                   \
      exit(1);                                                                                   \
    }                                                                                            \
  } while (0)

static void check(dynorm_status status) {
  if (status != DYNORM_OK) {
    fprintf(stderr, "%s\n", dynorm_last_error());
    exit(1);
  }
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* With --smoke: one call a shape, to try the program. */
int main(int count, char **arguments) {
  const int smoke = count > 1 && strcmp(arguments[1], "--smoke") == 0;
  const int calls = smoke ? 1 : CALLS, rounds = smoke ? 1 : ROUNDS;
  static const struct {
    const char *name;
    dynorm_function function;
  } functions[] = {{"rms_norm", DYNORM_RMS_NORM},
                   {"layer_norm", DYNORM_LAYER_NORM},
                   {"dyt", DYNORM_DYT},
                   {"dyisru", DYNORM_DYISRU},
                   {"derf", DYNORM_DERF}};
  static const size_t widths[] = {4096, 7168, 8192}, batches[] = {1, 8, 64};
  const size_t most = 64 * 8192 * 2;

  struct dynorm_cuda *device;
  const dynorm_element types[] = {DYNORM_BF16};
  check(dynorm_cuda_open_primary(0, NULL, 0, types, 1, &device));
  driver = dlopen("libcuda.so.1", RTLD_NOW);
  void *context, *stream;
  uint64_t memory;
  int ordinal;
  CUDA(cuDeviceGet, (int *, int), (&ordinal, 0));
  CUDA(cuDevicePrimaryCtxRetain, (void **, int), (&context, ordinal));
  CUDA(cuCtxSetCurrent, (void *), (context));
  CUDA(cuStreamCreate, (void **, unsigned), (&stream, 1));
  CUDA(cuMemAlloc_v2, (uint64_t *, size_t), (&memory, 4 * most));
  CUDA(cuMemsetD8_v2, (uint64_t, unsigned char, size_t), (memory, 0x3c, 4 * most));

  for (size_t f = 0; f < sizeof functions / sizeof *functions; ++f) {
    for (size_t shape = 0; shape < 9; ++shape) {
      dynorm_forward_args args = dynorm_forward_args_init();
      args.norm = (dynorm_norm){functions[f].function, 1e-5f, 0.5f, 4.0f, 1.0f, 0.0f, {0, 0}};
      args.rows = batches[shape % 3];
      args.channels = widths[shape / 3];
      args.x = (const void *)(uintptr_t)memory;
      args.y = (void *)(uintptr_t)(memory + most);
      args.weight = (const void *)(uintptr_t)(memory + 2 * most);
      args.x_element = args.y_element = args.weight_element = args.bias_element = DYNORM_BF16;
      const int biased = functions[f].function != DYNORM_RMS_NORM;
      if (biased) args.bias = (const void *)(uintptr_t)(memory + 3 * most);

      double us[ROUNDS];
      for (int round = 0; round < rounds; ++round) {
        const double start = seconds();
        for (int call = 0; call < calls; ++call) {
          check(dynorm_cuda_forward(device, &args, stream));
        }
        us[round] = (seconds() - start) / calls * 1e6;
        CUDA(cuStreamSynchronize, (void *), (stream));
      }
      qsort(us, (size_t)rounds, sizeof *us, ascending);
      printf("{\"kind\":\"host time of a call, C\",\"who\":\"dynorm\",\"function\":\"%s\","
             "\"operands\":\"%s\",\"type\":\"bf16\",\"rows\":%zu,\"channels\":%zu,\"us\":%.3f,"
             "\"gb_per_s\":0}\n",
             functions[f].name, biased ? "weight+bias" : "weight", args.rows, args.channels,
             us[rounds / 2]);
    }
  }
  CUDA(cuMemFree_v2, (uint64_t), (memory));
  CUDA(cuStreamDestroy_v2, (void *), (stream));
  CUDA(cuDevicePrimaryCtxRelease_v2, (int), (ordinal));
  dynorm_cuda_close(device);
  return 0;
}
