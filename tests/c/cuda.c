/* The CUDA functions where there is no GPU: statuses, and nothing written. DYNORM_HAS_CUDA says
   whether the library was built with them. */
#include "check.h"

int main(void) {
  size_t count = 77;
  dynorm_cuda *device = NULL;
  dynorm_forward_args args = dynorm_forward_args_init();
  const dynorm_function functions[] = {DYNORM_RMS_NORM, DYNORM_DYT};
  const dynorm_element types[] = {DYNORM_BF16};

  dynorm_status status = dynorm_cuda_device_count(&count);
  if (status == DYNORM_OK) {
    printf("there is a CUDA driver, with %zu devices\n", count);
    return 0;
  }
  CHECK_STATUS(status, DYNORM_HAS_CUDA ? DYNORM_ERROR_CUDA_MISSING : DYNORM_ERROR_UNSUPPORTED);
  CHECK(strstr(dynorm_last_error(), DYNORM_HAS_CUDA ? "no CUDA driver" : "\"cuda\"") != NULL);
  CHECK_STATUS(dynorm_cuda_open_primary(0, functions, 2, types, 1, &device), status);
  CHECK_STATUS(dynorm_cuda_open_primary(0, NULL, 0, NULL, 0, &device), status);
  CHECK_STATUS(dynorm_cuda_open_context(NULL, NULL, 0, NULL, 0, &device), status);
  CHECK(count == 77 && device == NULL);

  dynorm_status null = DYNORM_HAS_CUDA ? DYNORM_ERROR_NULL : status;
  CHECK_STATUS(dynorm_cuda_device_count(NULL), null);
  CHECK_STATUS(dynorm_cuda_open_primary(0, NULL, 0, NULL, 0, NULL), null);
  CHECK_STATUS(dynorm_cuda_forward(NULL, &args, NULL), null);
  dynorm_row_statistics statistics = {1, 2, 3, 4};
  CHECK_STATUS(dynorm_cuda_row_statistics(NULL, &args, &statistics, NULL), null);
  CHECK(statistics.count == 1 && statistics.m2 == 4);
  dynorm_backward_args gradients = dynorm_backward_args_init();
  CHECK_STATUS(dynorm_cuda_load_gradients(NULL, functions, 2, types, 1), null);
  CHECK_STATUS(dynorm_cuda_backward(NULL, &gradients, NULL), null);
  CHECK_STATUS(dynorm_cuda_backward_workspace(&gradients, NULL), null);
  gradients.rows = 3;
  gradients.channels = 8;
  gradients.element = DYNORM_BF16;
  gradients.norm = dynorm_rms_norm(1e-6f);
  /* What it needs depends on no device. */
  CHECK_STATUS(dynorm_cuda_backward_workspace(&gradients, &count), DYNORM_HAS_CUDA ? DYNORM_OK : status);
  CHECK(count == (DYNORM_HAS_CUDA ? 3 * 2 : 77));
  dynorm_function unknown = 99;
  dynorm_status value = DYNORM_HAS_CUDA ? DYNORM_ERROR_VALUE : status;
  CHECK_STATUS(dynorm_cuda_open_primary(0, &unknown, 1, NULL, 0, &device), value);
  const dynorm_element of_outputs = DYNORM_I8;
  CHECK_STATUS(dynorm_cuda_open_primary(0, NULL, 0, &of_outputs, 1, &device), value);
  dynorm_cuda_close(NULL);
  return 0;
}
