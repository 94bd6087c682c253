// dynorm through its C interface: on the calling thread, on its own threads (rayon), and in parts on
// the threads of an OpenMP program, which wait for work awake as those of most peers do.
#include <dynorm.h>
#include <stdio.h>
#include <stdlib.h>
#include "peer.h"

struct call {
    dynorm_forward_args args;
    int threads;
};

static const dynorm_element ELEMENTS[] = {DYNORM_F32, DYNORM_F16, DYNORM_BF16};

static void check(dynorm_status status) {
    if (status != DYNORM_OK) {
        fprintf(stderr, "dynorm: %s\n", dynorm_last_error());
        abort();
    }
}

static dynorm_norm norm(const struct problem *p) {
    switch (p->function) {
    case RMS_NORM: return dynorm_rms_norm(p->eps);
    case LAYER_NORM: return dynorm_layer_norm(p->eps);
    case DYT: return dynorm_dyt(p->alpha);
    case DYISRU: return dynorm_dyisru(p->beta, p->scale);
    case DERF: return dynorm_derf(p->alpha, 0);
    case TANH: return dynorm_dyt(1);
    default: return dynorm_derf(1, 0);
    }
}

static void *open_call(const struct problem *p) {
    struct call *call = malloc(sizeof *call);
    dynorm_forward_args args = dynorm_forward_args_init();
    args.norm = norm(p);
    args.rows = (size_t)p->rows;
    args.channels = (size_t)p->channels;
    args.x = p->x;
    args.y = p->y;
    args.weight = p->weight;
    args.bias = p->bias;
    args.x_element = args.y_element = args.weight_element = args.bias_element = ELEMENTS[p->element];
    call->args = args;
    call->threads = p->threads;
    return call;
}

void *serial_open(const struct problem *p) { return p->threads == 1 ? open_call(p) : NULL; }
void *rayon_open(const struct problem *p) { return open_call(p); }
void *openmp_open(const struct problem *p) { return open_call(p); }

void serial_run(void *call) { check(dynorm_forward(&((struct call *)call)->args)); }
void rayon_run(void *call) { check(dynorm_forward_parallel(&((struct call *)call)->args)); }
void openmp_run(void *state) {
    struct call *call = state;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int part = 0; part < call->threads; part++)
        check(dynorm_forward_part(&call->args, (size_t)part, (size_t)call->threads));
}

void serial_close(void *call) { free(call); }
void rayon_close(void *call) { free(call); }
void openmp_close(void *call) { free(call); }

static const char *version(void) {
    static char text[32];
    uint32_t v = dynorm_version();
    snprintf(text, sizeof text, "%u.%u.%u", v / 1000000, v / 1000 % 1000, v % 1000);
    return text;
}
const char *serial_version(void) { return version(); }
const char *rayon_version(void) { return version(); }
const char *openmp_version(void) { return version(); }
