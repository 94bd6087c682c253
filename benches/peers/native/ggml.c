// ggml's CPU backend: a graph of the nodes that an engine would build, on its own thread pool.
#include <stdlib.h>
#include "ggml-cpu.h"
#include "ggml.h"
#include "peer.h"

struct call {
    struct ggml_context *context;
    struct ggml_cgraph *graph;
    struct ggml_cplan plan;
    struct ggml_threadpool *pool;
};

static struct ggml_tensor *tensor(struct ggml_context *context, int64_t channels, int64_t rows, const void *data) {
    struct ggml_tensor *t = ggml_new_tensor_2d(context, GGML_TYPE_F32, channels, rows);
    t->data = (void *)data;
    return t;
}

void *peer_open(const struct problem *p) {
    if (p->element != F32 || p->function == DYISRU || p->function == DERF || p->function == ERF)
        return NULL;
    struct call *call = calloc(1, sizeof *call);
    struct ggml_init_params params = {.mem_size = 1 << 20, .mem_buffer = NULL, .no_alloc = true};
    ggml_cpu_init();
    call->context = ggml_init(params);
    struct ggml_tensor *x = tensor(call->context, p->channels, p->rows, p->x), *node;
    struct ggml_tensor *nodes[4];
    int count = 0;
    switch (p->function) {
    case RMS_NORM: node = ggml_rms_norm(call->context, x, p->eps); break;
    case LAYER_NORM: node = ggml_norm(call->context, x, p->eps); break;
    case DYT:
        nodes[count++] = node = ggml_scale(call->context, x, p->alpha);
        node = ggml_tanh_inplace(call->context, node);
        break;
    default: node = ggml_tanh(call->context, x);
    }
    nodes[count++] = node;
    if (p->weight)
        nodes[count++] = node = ggml_mul(call->context, node, tensor(call->context, p->channels, 1, p->weight));
    if (p->bias)
        nodes[count++] = node = ggml_add(call->context, node, tensor(call->context, p->channels, 1, p->bias));
    for (int i = 0; i < count; i++) // every node works in the output's memory
        nodes[i]->data = p->y;
    call->graph = ggml_new_graph(call->context);
    ggml_build_forward_expand(call->graph, node);
    struct ggml_threadpool_params pool = ggml_threadpool_params_default(p->threads);
    call->pool = ggml_threadpool_new(&pool);
    call->plan = ggml_graph_plan(call->graph, p->threads, call->pool);
    if (call->plan.work_size)
        call->plan.work_data = malloc(call->plan.work_size);
    return call;
}

void peer_run(void *state) {
    struct call *call = state;
    ggml_graph_compute(call->graph, &call->plan);
}

void peer_close(void *state) {
    struct call *call = state;
    ggml_threadpool_free(call->pool);
    ggml_free(call->context);
    free(call->plan.work_data);
    free(call);
}

const char *peer_version(void) { return ggml_version(); }
