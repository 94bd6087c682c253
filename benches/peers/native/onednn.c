// oneDNN: layer normalisation, the same with its RMS flag, and the eltwise primitive for tanh.
// Its optimised kernels take weights in f32, so they get a copy in that type.
#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "peer.h"

struct call {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, y, weight, bias;
    dnnl_exec_arg_t arguments[4];
    float *floats[2];
    int count;
};

static const dnnl_data_type_t TYPES[] = {dnnl_f32, dnnl_f16, dnnl_bf16};

static dnnl_memory_desc_t describe(int dimensions, const dnnl_dims_t sizes, dnnl_data_type_t type) {
    dnnl_memory_desc_t result;
    dnnl_memory_desc_create_with_tag(&result, dimensions, sizes, type, dimensions == 2 ? dnnl_ab : dnnl_a);
    return result;
}

static void add(struct call *call, int name, dnnl_memory_t *memory, dnnl_memory_desc_t kind, const void *data) {
    if (!data)
        return;
    dnnl_memory_create(memory, kind, call->engine, (void *)data);
    call->arguments[call->count++] = (dnnl_exec_arg_t){name, *memory};
}

// bf16 weights in f32; f32 ones as they are.
static const void *as_f32(struct call *call, int which, const struct problem *p, const void *data) {
    if (!data || p->element == F32)
        return data;
    float *floats = call->floats[which] = aligned_alloc(64, (size_t)(p->channels * 4 + 63) / 64 * 64);
    for (int64_t i = 0; i < p->channels; i++) {
        uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
        memcpy(&floats[i], &bits, 4);
    }
    return floats;
}

void *peer_open(const struct problem *p) {
    if (p->element == F16) // needs a processor with arithmetic in f16
        return NULL;
    omp_set_num_threads(p->threads);
    struct call *call = calloc(1, sizeof *call);
    dnnl_engine_create(&call->engine, dnnl_cpu, 0);
    dnnl_data_type_t type = TYPES[p->element];
    dnnl_dims_t sizes = {p->rows, p->channels}, channels = {p->channels};
    dnnl_memory_desc_t data = describe(2, sizes, type), row = describe(1, channels, dnnl_f32);
    dnnl_primitive_desc_t description = NULL;
    dnnl_status_t status = dnnl_unimplemented;
    if (p->function == TANH) {
        status = dnnl_eltwise_forward_primitive_desc_create(
            &description, call->engine, dnnl_forward_inference, dnnl_eltwise_tanh, data, data, 0, 0, NULL);
    } else if (p->function == RMS_NORM || p->function == LAYER_NORM) {
        unsigned flags = dnnl_use_scale;
        if (p->bias)
            flags |= dnnl_use_shift;
        if (p->function == RMS_NORM) {
#if DNNL_VERSION_MAJOR > 3 || DNNL_VERSION_MINOR >= 9
            flags |= dnnl_rms_norm;
#else
            return NULL;
#endif
        }
#if DNNL_VERSION_MAJOR > 3 || DNNL_VERSION_MINOR >= 3
        status = dnnl_layer_normalization_forward_primitive_desc_create_v2(
            &description, call->engine, dnnl_forward_inference, data, data, NULL, dnnl_f32, p->eps, flags, NULL);
#else
        status = dnnl_layer_normalization_forward_primitive_desc_create(
            &description, call->engine, dnnl_forward_inference, data, data, NULL, p->eps, flags, NULL);
#endif
    }
    if (status != dnnl_success)
        return NULL;
    const char *name;
    dnnl_primitive_desc_query(description, dnnl_query_impl_info_str, 0, &name);
    if (name[0] == 'r' && name[1] == 'e') // its reference code is no peer
        return NULL;
    dnnl_primitive_create(&call->primitive, description);
    dnnl_stream_create(&call->stream, call->engine, dnnl_stream_default_flags);
    add(call, DNNL_ARG_SRC, &call->x, data, p->x);
    add(call, DNNL_ARG_DST, &call->y, data, p->y);
    add(call, DNNL_ARG_SCALE, &call->weight, row, as_f32(call, 0, p, p->weight));
    add(call, DNNL_ARG_SHIFT, &call->bias, row, as_f32(call, 1, p, p->bias));
    dnnl_primitive_desc_destroy(description);
    return call;
}

void peer_run(void *state) {
    struct call *call = state;
    dnnl_primitive_execute(call->primitive, call->stream, call->count, call->arguments);
}

void peer_close(void *state) {
    struct call *call = state;
    dnnl_memory_t memories[] = {call->x, call->y, call->weight, call->bias};
    for (int i = 0; i < 4; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    dnnl_primitive_destroy(call->primitive);
    dnnl_stream_destroy(call->stream);
    dnnl_engine_destroy(call->engine);
    free(call->floats[0]);
    free(call->floats[1]);
    free(call);
}

const char *peer_version(void) {
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    snprintf(text, sizeof text, "%d.%d.%d", v->major, v->minor, v->patch);
    return text;
}
