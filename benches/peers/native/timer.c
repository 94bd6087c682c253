// The loop that times a native call, and the copies that everything is compared with.
#include <immintrin.h>
#include <string.h>
#include <time.h>
#include "peer.h"

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double time_calls(void (*run)(void *), void *call, int64_t calls) {
    double start = seconds();
    for (int64_t i = 0; i < calls; i++)
        run(call);
    return seconds() - start;
}

static void copy_part(const struct problem *p, int64_t part, int64_t parts, int stream) {
    int64_t bytes = p->rows * p->channels * (p->element == F32 ? 4 : 2);
    int64_t from = bytes * part / parts / 64 * 64;
    int64_t to = part + 1 == parts ? bytes : bytes * (part + 1) / parts / 64 * 64;
    const char *x = p->x;
    char *y = p->y;
    if (!stream) {
        memcpy(y + from, x + from, (size_t)(to - from));
        return;
    }
#ifdef __SSE2__
    int64_t i = from;
    for (; i + 64 <= to; i += 64)
        for (int64_t j = i; j < i + 64; j += 16)
            _mm_stream_si128((__m128i *)(y + j), _mm_loadu_si128((const __m128i *)(x + j)));
    memcpy(y + i, x + i, (size_t)(to - i));
    _mm_sfence();
#endif
}

static void copy(const struct problem *p, int stream) {
#pragma omp parallel for num_threads(p->threads) if (p->threads > 1)
    for (int part = 0; part < p->threads; part++)
        copy_part(p, part, p->threads, stream);
}

void copy_plain(void *problem) { copy(problem, 0); }
void copy_streamed(void *problem) { copy(problem, 1); }
