/* Heads of tokens, in every tensor that a call may have: the bits of a call for each head. */
#include "fused.h"

enum { TOKENS = 3, HEADS = 4 };
_Static_assert(TOKENS * HEADS == ROWS, "rows are those of all heads");

/* Heads in tokens of a packed tensor: x, y, z, residual and its sum, each at strides of its own,
   against a call for each head. */
static void check_heads(dynorm_norm norm, dynorm_element y_element, way how) {
  size_t token[5], head[5], bytes = size_of(y_element);
  for (size_t t = 0; t < 5; t++) {
    head[t] = CHANNELS + t;
    token[t] = (HEADS + 2) * head[t] + t;
  }
  void *x = numbers(DYNORM_BF16, TOKENS, token[0], token[0], 7);
  void *z = numbers(DYNORM_F32, TOKENS, token[2], token[2], 8);
  void *residual = numbers(DYNORM_F32, TOKENS, token[3], token[3], 9);
  size_t y_size = TOKENS * token[1] * bytes;
  char *y = tensor(y_element, TOKENS, token[1], token[1]), *y_wanted = malloc(y_size);
  float *sum = tensor(DYNORM_F32, TOKENS, token[4], token[4]), *sum_wanted = malloc(TOKENS * token[4] * 4);
  float scales[ROWS], scales_wanted[ROWS];
  CHECK(y_wanted != NULL && sum_wanted != NULL);
  memcpy(y_wanted, y, y_size);
  memcpy(sum_wanted, sum, TOKENS * token[4] * 4);

  dynorm_forward_args args = call_of(norm, ROWS, CHANNELS, x, NULL);
  args.x_element = DYNORM_BF16;
  args.y = y;
  args.y_element = y_element;
  args.z = z;
  args.residual = residual;
  args.residual_sum = sum;
  args.z_element = args.residual_element = DYNORM_F32;
  args.scale_mode = bytes == 1 ? DYNORM_SCALE_COMPUTED : DYNORM_SCALE_NONE;
  args.scales = scales;
  args.heads = HEADS;
  args.x_row_stride = head[0];
  args.y_row_stride = head[1];
  args.z_row_stride = head[2];
  args.residual_row_stride = head[3];
  args.residual_sum_row_stride = head[4];
  args.x_token_stride = token[0];
  args.y_token_stride = token[1];
  args.z_token_stride = token[2];
  args.residual_token_stride = token[3];
  args.residual_sum_token_stride = token[4];
  run(&args, how);

  for (size_t row = 0; row < ROWS; row++) {
    size_t at[5];
    for (size_t t = 0; t < 5; t++) {
      at[t] = row / HEADS * token[t] + row % HEADS * head[t];
    }
    dynorm_forward_args one = args;
    one.rows = 1;
    one.heads = 0;
    one.x = (char *)x + 2 * at[0];
    one.y = y_wanted + bytes * at[1];
    one.z = (char *)z + 4 * at[2];
    one.residual = (char *)residual + 4 * at[3];
    one.residual_sum = sum_wanted + at[4];
    one.scales = &scales_wanted[row];
    CHECK_STATUS(dynorm_forward(&one), DYNORM_OK);
  }
  CHECK(memcmp(y, y_wanted, y_size) == 0 && memcmp(sum, sum_wanted, TOKENS * token[4] * 4) == 0);
  CHECK(bytes > 1 || memcmp(scales, scales_wanted, sizeof scales) == 0);
  free(x);
  free(z);
  free(residual);
  free(y);
  free(y_wanted);
  free(sum);
  free(sum_wanted);
}

/* q of a packed qkv, in place; strides that are left at 0 are those of heads side by side. */
static void check_heads_in_place(void) {
  float qkv[TOKENS][(HEADS + 2) * 8], before[TOKENS][(HEADS + 2) * 8], dense[TOKENS][HEADS * 8];
  fill(qkv, DYNORM_F32, TOKENS, (HEADS + 2) * 8, (HEADS + 2) * 8, 10);
  memcpy(before, qkv, sizeof qkv);
  dynorm_forward_args args = call_of(dynorm_rms_norm(1e-5f), ROWS, 8, qkv[0], dense[0]);
  args.heads = HEADS;
  args.x_token_stride = (HEADS + 2) * 8;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  args.y = qkv;
  args.y_token_stride = (HEADS + 2) * 8;
  CHECK_STATUS(dynorm_forward(&args), DYNORM_OK);
  for (size_t token = 0; token < TOKENS; token++) {
    CHECK(memcmp(qkv[token], dense[token], sizeof dense[token]) == 0);
    CHECK(memcmp(&qkv[token][HEADS * 8], &before[token][HEADS * 8], sizeof(float[16])) == 0);
    args.rows = HEADS;
    float *alone = plain(args, before[token], DYNORM_F32, 8);
    CHECK(memcmp(alone, dense[token], sizeof dense[token]) == 0);
    free(alone);
  }
}

int main(void) {
  for (size_t n = 0; n < NORMS; n++) {
    for (way how = SERIAL; how < WAYS; how = (way)(how + 1)) {
      check_heads(norm_of(n), DYNORM_F16, how);
      check_heads(norm_of(n), n % 2 ? DYNORM_I8 : DYNORM_F8_E4M3, how);
    }
  }
  check_heads_in_place();
  return 0;
}
