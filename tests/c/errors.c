/* Every way in which a plain call can be wrong. */
#include "refused.h"

/* The size of the struct in the first version of the header. */
enum { OLDEST = offsetof(dynorm_forward_args, reserved) + sizeof(uint32_t) };

static dynorm_forward_args good(void) {
  return plain_call();
}

static void pointers(void) {
  refused(NULL, DYNORM_ERROR_NULL, "args is NULL");
  REFUSED(args.x = NULL, DYNORM_ERROR_NULL, "input is at 0x0");
  REFUSED(args.y = NULL, DYNORM_ERROR_NULL, "output is at 0x0");
  REFUSED(args.x = byte_after(x), DYNORM_ERROR_ALIGNMENT, "input is at 0x");
  REFUSED(args.y = byte_after(y), DYNORM_ERROR_ALIGNMENT, "multiple of its element's 4 bytes");
  REFUSED(args.weight = byte_after(weight), DYNORM_ERROR_ALIGNMENT, "weight is at 0x");
  REFUSED(args.bias = byte_after(bias), DYNORM_ERROR_ALIGNMENT, "bias is at 0x");
  ACCEPTED(args.weight = args.bias = NULL);

  static _Alignas(16) char room[sizeof(dynorm_forward_args) + 16];
  refused((dynorm_forward_args *)(void *)(room + 4), DYNORM_ERROR_ALIGNMENT, "args is at 0x");
}

static void structs(void) {
  REFUSED(args.size = 0, DYNORM_ERROR_STRUCT_SIZE, "args.size is 0");
  REFUSED(args.size -= 1, DYNORM_ERROR_STRUCT_SIZE, "sizeof(dynorm_forward_args)");
  REFUSED(args.size = OLDEST - 1, DYNORM_ERROR_STRUCT_SIZE, "args.size is");
  REFUSED(args.size = OLDEST + 1, DYNORM_ERROR_STRUCT_SIZE, "args.size is");
  REFUSED(args.size = SIZE_MAX, DYNORM_ERROR_STRUCT_SIZE, "args.size is");
  REFUSED(args.reserved = 1, DYNORM_ERROR_UNSUPPORTED, "args.reserved is not 0");
  REFUSED(args.norm.reserved[1] = 1, DYNORM_ERROR_UNSUPPORTED, "args.norm.reserved is not 0");

  /* What the first version of the header had, and not a byte more. */
  dynorm_forward_args args = good();
  args.size = OLDEST;
  dynorm_forward_args *shorter = malloc(OLDEST);
  CHECK(shorter != NULL);
  memcpy(shorter, &args, OLDEST);
  CHECK_STATUS(dynorm_forward(shorter), DYNORM_OK);
  shorter->rows = SIZE_MAX;
  refused(shorter, DYNORM_ERROR_SHAPE, "larger than the address space");
  free(shorter);

  /* What a later version of the header might have. */
  struct {
    dynorm_forward_args args;
    size_t later;
  } longer;
  memset(&longer, 0, sizeof longer);
  longer.args = good();
  longer.args.size = sizeof longer;
  CHECK_STATUS(dynorm_forward(&longer.args), DYNORM_OK);
  longer.later = (size_t)1 << (8 * sizeof(size_t) - 1);
  refused(&longer.args, DYNORM_ERROR_UNSUPPORTED, "behind the end of dynorm_forward_args");
}

static void values(void) {
  const uint32_t unknown[] = {0, 99, UINT32_MAX};
  for (int i = 0; i < 3; i++) {
    REFUSED(args.norm.function = unknown[i], DYNORM_ERROR_VALUE, "is no dynorm_function");
    REFUSED(args.x_element = unknown[i], DYNORM_ERROR_VALUE, "args.x_element is");
    REFUSED(args.y_element = unknown[i], DYNORM_ERROR_VALUE, "args.y_element is");
    REFUSED(args.weight_element = unknown[i], DYNORM_ERROR_VALUE, "args.weight_element is");
    REFUSED(args.bias_element = unknown[i], DYNORM_ERROR_VALUE, "args.bias_element is");
    ACCEPTED(args.weight = NULL; args.weight_element = unknown[i]);
    if (i > 0) {
      REFUSED(args.isa = unknown[i], DYNORM_ERROR_VALUE, "args.isa is");
    }
  }
  REFUSED(args.flags = 16, DYNORM_ERROR_VALUE, "args.flags is 16");
  REFUSED(args.flags = DYNORM_FLAG_STREAM | DYNORM_FLAG_NO_STREAM, DYNORM_ERROR_VALUE, "exclude");
}

static void shapes(void) {
  REFUSED(args.channels = 0, DYNORM_ERROR_SHAPE, "input has 0 channels");
  REFUSED(args.x_row_stride = CHANNELS - 1, DYNORM_ERROR_SHAPE, "input has a row stride of 7");
  REFUSED(args.y_row_stride = 1, DYNORM_ERROR_SHAPE, "output has a row stride of 1");
  REFUSED(args.rows = SIZE_MAX, DYNORM_ERROR_SHAPE, "larger than the address space");
  REFUSED(args.rows = 1; args.channels = SIZE_MAX / 2, DYNORM_ERROR_SHAPE, "larger than");
  REFUSED(args.x_row_stride = SIZE_MAX / 2, DYNORM_ERROR_SHAPE, "input of 4 rows");
  REFUSED(args.y_row_stride = SIZE_MAX / 2, DYNORM_ERROR_SHAPE, "output of 4 rows");
  ACCEPTED(args.rows = 0; args.x = args.y = NULL);
}

static void parameters(void) {
  const float nan = x[0] / x[0];
  REFUSED(args.norm.eps = -1.0f, DYNORM_ERROR_PARAMETER, "eps is -1");
  REFUSED(args.norm = dynorm_layer_norm(nan), DYNORM_ERROR_PARAMETER, "eps is NaN");
  REFUSED(args.norm = dynorm_dyt(nan), DYNORM_ERROR_PARAMETER, "alpha is NaN");
  REFUSED(args.norm = dynorm_dyisru(0.0f, 1.0f), DYNORM_ERROR_PARAMETER, "beta is 0");
  REFUSED(args.norm = dynorm_dyisru(1.0f, nan), DYNORM_ERROR_PARAMETER, "scale is NaN");
  REFUSED(args.norm = dynorm_derf(1.0f, nan), DYNORM_ERROR_PARAMETER, "shift is NaN");
  REFUSED(args.weight_offset = nan, DYNORM_ERROR_PARAMETER, "weight_offset is NaN");
}

static void overlaps(void) {
  ACCEPTED(args.y = x);
  REFUSED(args.x = y + 1, DYNORM_ERROR_OVERLAP, "output overlaps input");
  REFUSED(args.x = y; args.x_row_stride = CHANNELS + 1, DYNORM_ERROR_OVERLAP, "input");
  REFUSED(args.x = y; args.x_element = DYNORM_BF16, DYNORM_ERROR_OVERLAP, "input");
  REFUSED(args.weight = y + ROWS * CHANNELS - 1, DYNORM_ERROR_OVERLAP, "output overlaps weight");
  REFUSED(args.bias = y, DYNORM_ERROR_OVERLAP, "output overlaps bias");
  /* Two column ranges of one matrix share no element. */
  ACCEPTED(args.rows = 2; args.x = y + CHANNELS; args.x_row_stride = args.y_row_stride = 2 * CHANNELS);
}

static void parts(void) {
  dynorm_forward_args args = good();
  CHECK_STATUS(dynorm_forward_part(&args, 2, 2), DYNORM_ERROR_PART);
  CHECK(strcmp(dynorm_last_error(), "part 2 of 2 was asked for; the index must be below the count") == 0);
  CHECK_STATUS(dynorm_forward_part(&args, 0, 0), DYNORM_ERROR_PART);
  CHECK_STATUS(dynorm_forward_part(&args, SIZE_MAX - 1, SIZE_MAX), DYNORM_OK);
}

static void isas(void) {
  CHECK_STATUS(dynorm_isa_current(NULL), DYNORM_ERROR_NULL);
  CHECK_STATUS(dynorm_isa_set_current(DYNORM_ISA_CURRENT), DYNORM_ERROR_VALUE);
  CHECK_STATUS(dynorm_isa_set_current(99), DYNORM_ERROR_VALUE);
  for (dynorm_isa isa = DYNORM_ISA_PORTABLE; isa <= DYNORM_ISA_AVX512_BF16; isa++) {
    if (!dynorm_isa_is_available(isa)) {
      REFUSED(args.isa = isa, DYNORM_ERROR_ISA, dynorm_isa_name(isa));
      CHECK_STATUS(dynorm_isa_set_current(isa), DYNORM_ERROR_ISA);
    }
  }
}

static void statuses(void) {
  for (dynorm_status status = DYNORM_OK; status <= DYNORM_ERROR_INTERNAL; status++) {
    CHECK(strcmp(dynorm_status_string(status), "an unknown status") != 0);
  }
  CHECK(strcmp(dynorm_status_string(DYNORM_ERROR_INTERNAL + 1), "an unknown status") == 0);
  CHECK(strcmp(dynorm_status_string(UINT32_MAX), "an unknown status") == 0);
}

int main(void) {
  CHECK(strcmp(dynorm_last_error(), "") == 0);
  pointers();
  structs();
  values();
  shapes();
  parameters();
  overlaps();
  parts();
  isas();
  statuses();
  return 0;
}
