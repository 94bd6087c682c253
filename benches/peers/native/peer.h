// What a peer written in C, C++ or Rust gives to the timer: one shared library each.
#ifndef PEER_H
#define PEER_H
#include <stdint.h>

enum { RMS_NORM, LAYER_NORM, DYT, DYISRU, DERF, TANH, ERF };
enum { F32, F16, BF16 };

// Dense rows. weight and bias have one element a channel, of the type of x; either may be null.
struct problem {
    int32_t function, element;
    int64_t rows, channels;
    const void *x, *weight, *bias;
    void *y;
    int32_t threads;
    float eps, alpha, beta, scale;
};

// A call that is ready to run, or null where the peer does not offer it. `problem` outlives it.
void *peer_open(const struct problem *problem);
void peer_run(void *call);
// Only of peers that write elsewhere: copies the last result to y, where it is checked.
void peer_store(void *call);
void peer_close(void *call);
const char *peer_version(void);
#endif
