// What a C compiler makes of the formulas with -Ofast for this processor: it vectorises tanhf and
// erff with glibc's libmvec. Built with -Ofast -march=native -fopenmp.
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "peer.h"

static inline float widen(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

// To nearest even; NaN is not kept, which is what makes it fast.
static inline uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

#define SAME(v) (v)
#define ROWS(suffix, type, load, store)                                                              \
    static void elementwise_##suffix(const struct problem *p, const type *restrict x,               \
                                     const type *restrict w, const type *restrict b,                \
                                     type *restrict y) {                                            \
        int64_t n = p->channels;                                                                    \
        float alpha = p->alpha, beta = p->beta, scale = p->scale;                                   \
        switch (p->function) {                                                                      \
        case DYT:                                                                                   \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store(tanhf(alpha * load(x[i])) * load(w[i]) + load(b[i]));                  \
            break;                                                                                  \
        case DYISRU:                                                                                \
            for (int64_t i = 0; i < n; i++) {                                                       \
                float v = load(x[i]);                                                               \
                y[i] = store(scale * v / sqrtf(beta + v * v) * load(w[i]) + load(b[i]));            \
            }                                                                                       \
            break;                                                                                  \
        case DERF:                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store(erff(alpha * load(x[i])) * load(w[i]) + load(b[i]));                   \
            break;                                                                                  \
        case TANH:                                                                                  \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store(tanhf(load(x[i])));                                                    \
            break;                                                                                  \
        default:                                                                                    \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store(erff(load(x[i])));                                                     \
        }                                                                                           \
    }                                                                                               \
    static void norm_##suffix(const struct problem *p, const type *restrict x,                      \
                              const type *restrict w, const type *restrict b, type *restrict y) {   \
        int64_t n = p->channels;                                                                    \
        float mean = 0, square = 0;                                                                 \
        if (p->function == LAYER_NORM) {                                                            \
            for (int64_t i = 0; i < n; i++)                                                         \
                mean += load(x[i]);                                                                 \
            mean /= (float)n;                                                                       \
        }                                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                           \
            float d = load(x[i]) - mean;                                                            \
            square += d * d;                                                                        \
        }                                                                                           \
        float inverse = 1 / sqrtf(square / (float)n + p->eps);                                      \
        if (b)                                                                                      \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store((load(x[i]) - mean) * inverse * load(w[i]) + load(b[i]));              \
        else                                                                                        \
            for (int64_t i = 0; i < n; i++)                                                         \
                y[i] = store(load(x[i]) * inverse * load(w[i]));                                    \
    }                                                                                               \
    static void row_##suffix(const struct problem *p, int64_t row) {                                \
        const type *x = (const type *)p->x + row * p->channels;                                     \
        type *y = (type *)p->y + row * p->channels;                                                 \
        if (p->function == RMS_NORM || p->function == LAYER_NORM)                                   \
            norm_##suffix(p, x, p->weight, p->bias, y);                                             \
        else                                                                                        \
            elementwise_##suffix(p, x, p->weight, p->bias, y);                                      \
    }

ROWS(f32, float, SAME, SAME)
ROWS(bf16, uint16_t, widen, narrow)

void *peer_open(const struct problem *p) { return p->element == F16 ? NULL : (void *)p; }

void peer_run(void *call) {
    const struct problem *p = call;
#pragma omp parallel for schedule(static) num_threads(p->threads) if (p->threads > 1)
    for (int64_t row = 0; row < p->rows; row++)
        if (p->element == F32)
            row_f32(p, row);
        else
            row_bf16(p, row);
}

void peer_close(void *call) { (void)call; }
const char *peer_version(void) { return "gcc " __VERSION__ ", -Ofast, libmvec"; }
