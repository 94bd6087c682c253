/* Run with DYNORM_ISA=nonsense: a misspelt name is an error of every call that relies on it. */
#include "check.h"

int main(void) {
  float xy[4] = {1, 2, 3, 4}, weight[4] = {1, 1, 1, 1};
  dynorm_isa isa = DYNORM_ISA_AVX2;
  dynorm_forward_args args = call_of(dynorm_dyt(1.0f), 1, 4, xy, xy);
  CHECK_STATUS(dynorm_isa_current(&isa), DYNORM_ERROR_ISA);
  CHECK(isa == DYNORM_ISA_AVX2);
  CHECK(strstr(dynorm_last_error(), "DYNORM_ISA is \"nonsense\"") != NULL);
  CHECK_STATUS(dynorm_forward(&args), DYNORM_ERROR_ISA);
  args.weight = weight;
  args.weight_element = DYNORM_F32;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_ERROR_ISA);
  CHECK_STATUS(dynorm_forward_part(&args, 0, 2), DYNORM_ERROR_ISA);
  CHECK_STATUS(dynorm_forward_part(&args, 1, 2), DYNORM_ERROR_ISA);
  CHECK(xy[3] == 4);

  args.isa = DYNORM_ISA_PORTABLE;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  CHECK_STATUS(dynorm_isa_set_current(DYNORM_ISA_PORTABLE), DYNORM_OK);
  args.isa = DYNORM_ISA_CURRENT;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  return 0;
}
