/* RMSNorm as a node of a ggml graph, computed by two of ggml's threads. */
#include "dynorm_ggml.h"
#include "ggml-cpu.h"
#include <stdio.h>

int main(void) {
  struct ggml_init_params params = {.mem_size = 1 << 20};
  struct ggml_context *context = ggml_init(params);
  struct ggml_tensor *x = ggml_new_tensor_2d(context, GGML_TYPE_F32, 4096, 2);
  struct ggml_tensor *weight = ggml_new_tensor_1d(context, GGML_TYPE_F32, 4096);
  ggml_set_f32(x, 2.0f);
  ggml_set_f32(weight, 0.5f);

  const dynorm_norm norm = dynorm_rms_norm(1e-5f);
  struct ggml_tensor *y = dynorm_ggml(context, &norm, x, weight, NULL);

  struct ggml_cgraph *graph = ggml_new_graph(context);
  ggml_build_forward_expand(graph, y);
  ggml_graph_compute_with_ctx(context, graph, 2);
  printf("RMSNorm %.4f\n", (double)ggml_get_f32_1d(y, 0));
  ggml_free(context);
  return 0;
}
