/* Every way in which what a call does beside the function can be wrong. */
#include "refused.h"
#include <math.h>

static dynorm_row_statistics statistics[ROWS + MORE];
static float z[ROWS * CHANNELS + MORE];

/* A call with everything there is, with y of f32. */
static dynorm_forward_args good(void) {
  dynorm_forward_args args = plain_call();
  args.residual = more.residual;
  args.residual_sum = more.sum;
  args.z = z;
  args.residual_element = args.z_element = DYNORM_F32;
  args.heads = 2;
  args.statistics = statistics;
  return args;
}

/* The same with y of 8 bits. */
static dynorm_forward_args quantized(dynorm_scale mode) {
  dynorm_forward_args args = good();
  args.y_element = DYNORM_I8;
  args.scale_mode = mode;
  args.scales = more.scales;
  args.scale_group_size = mode == DYNORM_SCALE_COMPUTED_PER_GROUP ? 4 : 0;
  return args;
}

static void pointers(void) {
  REFUSED(args.residual = NULL, DYNORM_ERROR_NULL, "args.residual is NULL; args.residual_sum needs it");
  REFUSED(args.residual = byte_after(more.residual), DYNORM_ERROR_ALIGNMENT, "residual is at 0x");
  REFUSED(args.residual_sum = byte_after(more.sum), DYNORM_ERROR_ALIGNMENT, "residual's sum is at 0x");
  REFUSED(args.z = byte_after(z), DYNORM_ERROR_ALIGNMENT, "gate is at 0x");
  REFUSED(args.statistics = (void *)byte_after(z), DYNORM_ERROR_ALIGNMENT, "statistics is at 0x");
  for (dynorm_scale mode = DYNORM_SCALE_GIVEN; mode <= DYNORM_SCALE_COMPUTED_PER_GROUP; mode++) {
    REFUSED(args = quantized(mode); args.scales = NULL, DYNORM_ERROR_NULL, "scales is at 0x0");
    REFUSED(args = quantized(mode); args.scales = byte_after(z), DYNORM_ERROR_ALIGNMENT, "scales is at");
  }
}

static void values(void) {
  const dynorm_element eight_bits[] = {DYNORM_I8, DYNORM_F8_E4M3};
  for (int i = 0; i < 2; i++) {
    const char *said = i == 0 ? "DYNORM_I8, which only y can be of" : "DYNORM_F8_E4M3, which only y";
    REFUSED(args.x_element = eight_bits[i], DYNORM_ERROR_VALUE, said);
    REFUSED(args.weight_element = eight_bits[i], DYNORM_ERROR_VALUE, said);
    REFUSED(args.bias_element = eight_bits[i], DYNORM_ERROR_VALUE, said);
    REFUSED(args.residual_element = eight_bits[i], DYNORM_ERROR_VALUE, said);
    REFUSED(args.z_element = eight_bits[i], DYNORM_ERROR_VALUE, said);
    REFUSED(args.y_element = eight_bits[i], DYNORM_ERROR_VALUE, "args.scale_mode is DYNORM_SCALE_NONE");
  }
  REFUSED(args.residual_element = 0, DYNORM_ERROR_VALUE, "args.residual_element is 0");
  REFUSED(args.z_element = 99, DYNORM_ERROR_VALUE, "args.z_element is 99");
  REFUSED(args.scale_mode = 5, DYNORM_ERROR_VALUE, "args.scale_mode is 5, which is no dynorm_scale");
  REFUSED(args.scale_group_size = 8, DYNORM_ERROR_VALUE, "only DYNORM_SCALE_COMPUTED_PER_GROUP has groups");
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED); args.scale_group_size = 8, DYNORM_ERROR_VALUE, "has groups");
  REFUSED(args.scale_mode = DYNORM_SCALE_COMPUTED, DYNORM_ERROR_VALUE, "args.y_element DYNORM_F32");
  REFUSED(args.norm = dynorm_dyt(1.0f), DYNORM_ERROR_VALUE, "dyt is element-wise");
  ACCEPTED(args.residual = args.residual_sum = NULL; args.residual_element = 99);
  ACCEPTED(args.z = NULL; args.z_element = DYNORM_I8);
}

static void parameters(void) {
  const float bad[] = {0.0f, -1.0f, ldexpf(1.0f, -127), INFINITY, NAN};
  for (int i = 0; i < 5; i++) {
    more.scales[0] = bad[i];
    REFUSED(args = quantized(DYNORM_SCALE_GIVEN), DYNORM_ERROR_PARAMETER, "scale is");
    more.scales[0] = 1.0f;
    more.scales[ROWS - 1] = bad[i];
    REFUSED(args = quantized(DYNORM_SCALE_GIVEN_PER_ROW), DYNORM_ERROR_PARAMETER, "scale is");
    more.scales[ROWS - 1] = 1.0f;
  }
}

static void shapes(void) {
  const uint32_t sizes[] = {0, 4097, UINT32_MAX};
  for (int i = 0; i < 3; i++) {
    REFUSED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.scale_group_size = sizes[i], DYNORM_ERROR_SHAPE,
            "they must be of 1 to 4096");
  }
  REFUSED(args.heads = 3, DYNORM_ERROR_SHAPE, "args.rows is 4; it must be a multiple of args.heads, which is 3");
  REFUSED(args.heads = SIZE_MAX, DYNORM_ERROR_SHAPE, "args.rows is 4");
  REFUSED(args.residual_row_stride = 7, DYNORM_ERROR_SHAPE, "residual has");
  REFUSED(args.residual_sum_row_stride = 7, DYNORM_ERROR_SHAPE, "residual's sum has");
  REFUSED(args.z_row_stride = 7, DYNORM_ERROR_SHAPE, "gate has");
  REFUSED(args.x_token_stride = 15, DYNORM_ERROR_SHAPE,
          "input has 2 heads of 8 channels, one every 8 elements, in tokens that are 15 elements apart");
  REFUSED(args.y_token_stride = 1, DYNORM_ERROR_SHAPE, "output has 2 heads");
  REFUSED(args.residual_token_stride = 1, DYNORM_ERROR_SHAPE, "residual has 2 heads");
  REFUSED(args.residual_sum_token_stride = 1, DYNORM_ERROR_SHAPE, "residual's sum has 2 heads");
  REFUSED(args.z_token_stride = 1, DYNORM_ERROR_SHAPE, "gate has 2 heads");
  REFUSED(args.z_token_stride = SIZE_MAX / 2, DYNORM_ERROR_SHAPE, "larger than the address space");
  REFUSED(args.z_row_stride = SIZE_MAX / 2, DYNORM_ERROR_SHAPE, "larger than the address space");
  REFUSED(args.rows = SIZE_MAX - 1; args.z_row_stride = SIZE_MAX, DYNORM_ERROR_SHAPE, "larger than");
  ACCEPTED(args.heads = 1);
  ACCEPTED(args.heads = 4);
  ACCEPTED(args.heads = 0; args.x_token_stride = args.z_token_stride = 1);
  ACCEPTED(args.heads = 2; args.rows = 0);
}

static void overlaps(void) {
  const char *said = "output overlaps residual";
  ACCEPTED(args.residual_sum = NULL);
  ACCEPTED(args.residual_sum = more.residual);
  ACCEPTED(args.y = x);
  ACCEPTED(args.z = x);
  ACCEPTED(args.residual = x);
  REFUSED(args.y = more.residual, DYNORM_ERROR_OVERLAP, said);
  REFUSED(args.y = more.residual; args.residual_sum = NULL, DYNORM_ERROR_OVERLAP, said);
  REFUSED(args.y = more.sum, DYNORM_ERROR_OVERLAP, "output overlaps residual's sum");
  REFUSED(args.y = z, DYNORM_ERROR_OVERLAP, "output overlaps gate");
  REFUSED(args.y = statistics, DYNORM_ERROR_OVERLAP, "output overlaps statistics");
  REFUSED(args.residual_sum = x, DYNORM_ERROR_OVERLAP, "residual's sum overlaps input");
  REFUSED(args.residual = x; args.residual_sum = NULL, DYNORM_ERROR_OVERLAP, "residual overlaps input");
  REFUSED(args.residual_sum = more.residual + 1, DYNORM_ERROR_OVERLAP, "sum overlaps residual");
  REFUSED(args.residual_sum = more.residual; args.residual_sum_row_stride = 16, DYNORM_ERROR_OVERLAP,
          "residual's sum overlaps residual");
  REFUSED(args.residual_sum = z, DYNORM_ERROR_OVERLAP, "residual's sum overlaps gate");
  REFUSED(args.weight = more.sum, DYNORM_ERROR_OVERLAP, "residual's sum overlaps weight");

  for (dynorm_scale mode = DYNORM_SCALE_GIVEN; mode <= DYNORM_SCALE_COMPUTED_PER_GROUP; mode++) {
    REFUSED(args = quantized(mode); args.y = x, DYNORM_ERROR_OVERLAP, "output overlaps input");
    REFUSED(args = quantized(mode); args.scales = y, DYNORM_ERROR_OVERLAP, "output overlaps scales");
    REFUSED(args = quantized(mode); args.scales = more.sum, DYNORM_ERROR_OVERLAP, "sum overlaps scales");
  }
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED); args.scales = x, DYNORM_ERROR_OVERLAP,
          "scales overlaps input");
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED); args.scales = bias, DYNORM_ERROR_OVERLAP,
          "scales overlaps bias");

  /* Two for each row. */
  float *last = more.scales + 2 * ROWS - 1;
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.x = last, DYNORM_ERROR_OVERLAP, "scales overlaps input");
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.bias = last, DYNORM_ERROR_OVERLAP,
          "scales overlaps bias");
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.y = last, DYNORM_ERROR_OVERLAP,
          "output overlaps scales");
  REFUSED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.residual = last, DYNORM_ERROR_OVERLAP,
          "scales overlaps residual");
  ACCEPTED(args = quantized(DYNORM_SCALE_COMPUTED_PER_GROUP); args.x = last + 1);
}

static void bound_refused(const dynorm_forward_args *args, dynorm_status status, const char *said) {
  float bound = 77;
  CHECK_STATUS(dynorm_output_bound(args, &bound), status);
  CHECK(bound == 77 && strstr(dynorm_last_error(), said) != NULL);
}

static void bounds(void) {
  dynorm_forward_args args = plain_call();
  bound_refused(NULL, DYNORM_ERROR_NULL, "args is NULL");
  bound_refused(&args, DYNORM_ERROR_VALUE, "rms_norm has no bound");
  args.norm = dynorm_dyt(1.0f);
  CHECK_STATUS(dynorm_output_bound(&args, NULL), DYNORM_ERROR_NULL);
  args.z = z;
  bound_refused(&args, DYNORM_ERROR_VALUE, "args.z is set");
  args.z = NULL;
  args.weight = byte_after(weight);
  bound_refused(&args, DYNORM_ERROR_ALIGNMENT, "weight is at 0x");
  args.weight = weight;
  args.bias_element = DYNORM_I8;
  bound_refused(&args, DYNORM_ERROR_VALUE, "which only y can be of");
  args.bias = NULL;
  args.weight_offset = NAN;
  bound_refused(&args, DYNORM_ERROR_PARAMETER, "weight_offset is NaN");
  args.weight_offset = 0.0f;
  args.channels = 0;
  bound_refused(&args, DYNORM_ERROR_SHAPE, "weight has 0 channels");
  args.channels = SIZE_MAX / 2;
  bound_refused(&args, DYNORM_ERROR_SHAPE, "larger than the address space");
}

static void statistics_refused(const dynorm_forward_args *args, dynorm_row_statistics *to,
                               dynorm_status status, const char *said) {
  dynorm_row_statistics before[ROWS + MORE];
  memcpy(before, statistics, sizeof statistics);
  CHECK_STATUS(dynorm_row_statistics_compute(args, to), status);
  CHECK(strstr(dynorm_last_error(), said) != NULL);
  CHECK(memcmp(before, statistics, sizeof statistics) == 0);
}

static void row_statistics(void) {
  dynorm_forward_args args = plain_call();
  statistics_refused(NULL, statistics, DYNORM_ERROR_NULL, "args is NULL");
  statistics_refused(&args, NULL, DYNORM_ERROR_NULL, "statistics is at 0x0");
  statistics_refused(&args, (void *)byte_after(y), DYNORM_ERROR_ALIGNMENT, "statistics is at 0x");
  statistics_refused(&args, (void *)x, DYNORM_ERROR_OVERLAP, "statistics overlaps input");
  args.residual = more.residual;
  statistics_refused(&args, statistics, DYNORM_ERROR_VALUE, "args.residual is set");
  args.residual = NULL;
  args.heads = 3;
  statistics_refused(&args, statistics, DYNORM_ERROR_SHAPE, "multiple of args.heads");
  args.heads = 0;
  args.isa = 99;
  statistics_refused(&args, statistics, DYNORM_ERROR_VALUE, "args.isa is 99");
  args.isa = DYNORM_ISA_CURRENT;
  args.norm = dynorm_derf(1.0f, 0.0f);
  statistics_refused(&args, statistics, DYNORM_ERROR_VALUE, "derf is element-wise");
  args.norm = dynorm_layer_norm(-1.0f);
  statistics_refused(&args, statistics, DYNORM_ERROR_PARAMETER, "eps is -1");
}

int main(void) {
  for (size_t row = 0; row < ROWS; row++) {
    statistics[row].count = CHANNELS;
  }
  pointers();
  values();
  parameters();
  shapes();
  overlaps();
  bounds();
  row_statistics();
  return 0;
}
