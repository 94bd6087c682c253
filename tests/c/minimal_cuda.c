/* RMSNorm on a GPU, of tensors in bf16 in device memory. */
#include "dynorm.h"
#include <stdio.h>

/* Once: the device, with the kernels of RMSNorm for x in bf16; NULL without a GPU that will do. */
dynorm_cuda *open_device(void) {
  const dynorm_function functions[] = {DYNORM_RMS_NORM};
  const dynorm_element types[] = {DYNORM_BF16};
  dynorm_cuda *device = NULL;
  if (dynorm_cuda_open_primary(0, functions, 1, types, 1, &device) != DYNORM_OK) {
    fprintf(stderr, "%s\n", dynorm_last_error());
  }
  return device; /* in the end, dynorm_cuda_close(device) */
}

/* Puts the call on `stream`, a CUstream or cudaStream_t; x, weight and y are device pointers. */
int rms_norm(const dynorm_cuda *device, void *stream, const void *x, const void *weight, void *y,
             size_t rows, size_t channels) {
  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = dynorm_rms_norm(1e-6f);
  args.rows = rows;
  args.channels = channels;
  args.x = x;
  args.y = y;
  args.weight = weight;
  args.x_element = args.y_element = args.weight_element = DYNORM_BF16;
  if (dynorm_cuda_forward(device, &args, stream) != DYNORM_OK) {
    fprintf(stderr, "%s\n", dynorm_last_error());
    return 1;
  }
  return 0;
}

int main(void) {
  dynorm_cuda *device = open_device();
  if (device) {
    dynorm_cuda_close(device);
  }
  return 0;
}
