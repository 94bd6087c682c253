/* The least that a call takes; C and C++. */
#include "dynorm.h"
#include <stdio.h>

int main(void) {
  float x[2 * 4] = {1, -2, 3, -4, 2, 2, 2, 2}, y[2 * 4], weight[4] = {1, 1, 0.5f, 0.5f};

  dynorm_forward_args args = dynorm_forward_args_init();
  args.norm = dynorm_rms_norm(1e-5f);
  args.rows = 2;
  args.channels = 4;
  args.x = x;
  args.y = y;
  args.weight = weight;
  args.x_element = args.y_element = args.weight_element = DYNORM_F32;
  if (dynorm_forward(&args) != DYNORM_OK) {
    fprintf(stderr, "%s\n", dynorm_last_error());
    return 1;
  }
  printf("%.4f %.4f %.4f %.4f\n", (double)y[4], (double)y[5], (double)y[6], (double)y[7]);
  return 0;
}
