// SLEEF: vector functions for registers, in the loop that a user of it would write.
#include <immintrin.h>
#include <stdlib.h>
#include "peer.h"

__m512 Sleef_tanhf16_u10avx512f(__m512);
__m512 Sleef_tanhf16_u35avx512f(__m512);
__m512 Sleef_erff16_u10avx512f(__m512);

#define LOOP(name, expression)                                                             \
    static void name(const struct problem *p) {                                            \
        const float *x = p->x, *weight = p->weight, *bias = p->bias;                       \
        float *y = p->y;                                                                   \
        const __m512 alpha = _mm512_set1_ps(p->alpha);                                     \
        (void)weight, (void)bias, (void)alpha;                                             \
        for (int64_t row = 0; row < p->rows; row++, x += p->channels, y += p->channels)    \
            for (int64_t i = 0; i + 16 <= p->channels; i += 16) {                          \
                __m512 v = _mm512_loadu_ps(x + i);                                         \
                _mm512_storeu_ps(y + i, expression);                                       \
            }                                                                              \
    }
#define AFFINE(v) _mm512_fmadd_ps(v, _mm512_loadu_ps(weight + i), _mm512_loadu_ps(bias + i))

LOOP(tanh_rows, Sleef_tanhf16_u35avx512f(v))
LOOP(erf_rows, Sleef_erff16_u10avx512f(v))
LOOP(dyt_rows, AFFINE(Sleef_tanhf16_u35avx512f(_mm512_mul_ps(v, alpha))))
LOOP(derf_rows, AFFINE(Sleef_erff16_u10avx512f(_mm512_mul_ps(v, alpha))))

void *peer_open(const struct problem *p) {
    int has = p->function == TANH || p->function == ERF ||
              ((p->function == DYT || p->function == DERF) && p->weight && p->bias);
    return has && p->element == F32 && p->threads == 1 ? (void *)p : NULL;
}

void peer_run(void *call) {
    const struct problem *p = call;
    switch (p->function) {
    case TANH: tanh_rows(p); break;
    case ERF: erf_rows(p); break;
    case DYT: dyt_rows(p); break;
    default: derf_rows(p);
    }
}

void peer_close(void *call) { (void)call; }
const char *peer_version(void) { return "tanh u35, erf u10"; }
