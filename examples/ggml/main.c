/* dynorm in ggml graphs, beside ggml's own nodes for the same: the results, then the times. */
#include "functions.h"
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Times are of a chain of norms, each over the result of the one before. */
enum { DEPTH = 16, REPEATS = 11, THREADS = 2, CHANNELS = 4096 };

/* What a graph is computed with. */
static ggml_backend_t backend;

/* A graph being built, or ready to be computed. */
struct graph {
  struct ggml_context *context;
  struct ggml_cgraph *nodes;
  ggml_gallocr_t memory;
};

static struct graph graph_new(void) {
  size_t nodes = 16 * DEPTH;
  struct ggml_init_params params = {
      .mem_size = nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes, false),
      .no_alloc = true,
  };
  struct graph graph = {.context = ggml_init(params)};
  graph.nodes = ggml_new_graph_custom(graph.context, nodes, false);
  graph.memory = ggml_gallocr_new(ggml_backend_cpu_buffer_type());
  return graph;
}

static void graph_add(struct graph *graph, struct ggml_tensor *result) {
  ggml_set_output(result);
  ggml_build_forward_expand(graph->nodes, result);
}

static void graph_compute(struct graph *graph) {
  GGML_ASSERT(ggml_backend_graph_compute(backend, graph->nodes) == GGML_STATUS_SUCCESS);
}

static void graph_free(struct graph *graph) {
  ggml_gallocr_free(graph->memory);
  ggml_free(graph->context);
}

/* Values from -3 to 3. */
static void fill(struct ggml_tensor *tensor) {
  size_t count = (size_t)ggml_nelements(tensor);
  float *values = malloc(count * sizeof *values);
  GGML_ASSERT(values);
  for (size_t i = 0; i < count; i++) {
    values[i] = (float)(i * 7919 % 1201) / 200 - 3;
  }
  ggml_backend_tensor_set(tensor, values, 0, count * sizeof *values);
  free(values);
}

/* The largest difference between two f32 tensors, relative to 1 + |a|; NaN if a value is. */
static double difference(const struct ggml_tensor *a, const struct ggml_tensor *b) {
  size_t count = (size_t)ggml_nelements(a);
  float *values = malloc(2 * count * sizeof *values);
  GGML_ASSERT(values && ggml_are_same_shape(a, b));
  ggml_backend_tensor_get(a, values, 0, count * sizeof *values);
  ggml_backend_tensor_get(b, values + count, 0, count * sizeof *values);
  double largest = 0;
  for (size_t i = 0; i < count; i++) {
    double apart = fabs((double)values[i] - (double)values[count + i]) / (1 + fabs(values[i]));
    if (!(apart <= largest)) {
      largest = apart;
    }
  }
  free(values);
  return largest;
}

/* Compares the libraries on x in each element type; gives the number of differences. */
static int check(const struct function *function, struct inputs in, int threads) {
  static const struct {
    enum ggml_type type;
    double tolerance;
  } types[] = {{GGML_TYPE_F32, 1e-5}, {GGML_TYPE_F16, 0x1p-11}, {GGML_TYPE_BF16, 0x1p-8}};
  int failures = 0;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct graph graph = graph_new();
    struct ggml_context *context = graph.context;
    struct inputs ours = in, theirs = in;
    if (types[i].type != GGML_TYPE_F32) {
      ours.x = ggml_cast(context, in.x, types[i].type);
    }
    /* ggml's nodes take f32 without gaps. */
    theirs.x = ggml_cast(context, ours.x, GGML_TYPE_F32);
    struct ggml_tensor *expected = function->by_ggml(context, &function->norm, theirs);
    struct ggml_tensor *y = ggml_cast(context, by_dynorm(context, function, ours), GGML_TYPE_F32);
    graph_add(&graph, expected);
    graph_add(&graph, y);
    GGML_ASSERT(ggml_gallocr_alloc_graph(graph.memory, graph.nodes));
    graph_compute(&graph);
    double apart = difference(expected, y);
    if (!(apart <= types[i].tolerance)) {
      printf("%s, %s, %d threads: apart by %g\n", function->name, ggml_type_name(types[i].type),
             threads, apart);
      failures++;
    }
    graph_free(&graph);
  }
  return failures;
}

static int ascending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* The median time of a norm within each library's chain, in microseconds. */
static void measure(const struct function *function, struct inputs in) {
  struct graph graphs[2];
  for (int dynorm = 0; dynorm < 2; dynorm++) {
    struct graph *graph = &graphs[dynorm];
    *graph = graph_new();
    struct inputs step = in;
    for (int i = 0; i < DEPTH; i++) {
      step.x = dynorm ? by_dynorm(graph->context, function, step)
                      : function->by_ggml(graph->context, &function->norm, step);
    }
    graph_add(graph, step.x);
    GGML_ASSERT(ggml_gallocr_alloc_graph(graph->memory, graph->nodes));
    graph_compute(graph);
  }

  int64_t times[2][REPEATS];
  for (int repeat = 0; repeat < REPEATS; repeat++) {
    for (int dynorm = 0; dynorm < 2; dynorm++) {
      int64_t start = ggml_time_us();
      graph_compute(&graphs[dynorm]);
      times[dynorm][repeat] = ggml_time_us() - start;
    }
  }
  printf("%-10s%5d x %d", function->name, (int)in.x->ne[1], (int)in.x->ne[0]);
  for (int dynorm = 0; dynorm < 2; dynorm++) {
    qsort(times[dynorm], REPEATS, sizeof **times, ascending);
    printf("%12.2f", (double)times[dynorm][REPEATS / 2] / DEPTH);
    graph_free(&graphs[dynorm]);
  }
  printf("\n");
}

int main(void) {
  ggml_time_init();
  backend = ggml_backend_cpu_init();

  struct ggml_init_params params = {.mem_size = 16 * ggml_tensor_overhead(), .no_alloc = true};
  struct ggml_context *context = ggml_init(params);
  struct ggml_tensor *one = ggml_new_tensor_2d(context, GGML_TYPE_F32, CHANNELS, 1);
  struct ggml_tensor *many = ggml_new_tensor_2d(context, GGML_TYPE_F32, CHANNELS, 512);
  struct ggml_tensor *weight = ggml_new_tensor_1d(context, GGML_TYPE_F32, CHANNELS);
  struct ggml_tensor *bias = ggml_new_tensor_1d(context, GGML_TYPE_F32, CHANNELS);
  /* Rows of 1,001 channels with gaps between rows and planes, from the 17th channel on. */
  struct ggml_tensor *x = ggml_view_3d(context, many, 1001, 5, 3, many->nb[1], 7 * many->nb[1],
                                       16 * sizeof(float));
  struct inputs gaps = {x, ggml_view_1d(context, weight, 1001, 4), ggml_view_1d(context, bias, 1001, 0)};
  ggml_backend_buffer_t memory = ggml_backend_alloc_ctx_tensors(context, backend);
  GGML_ASSERT(memory);
  fill(one);
  fill(many);
  fill(weight);
  fill(bias);

  int failures = 0;
  for (int threads = 1; threads <= 3; threads++) {
    ggml_backend_cpu_set_n_threads(backend, threads);
    for (int i = 0; i < FUNCTIONS; i++) {
      failures += check(&functions[i], gaps, threads);
    }
  }
  if (failures == 0) {
    printf("The same results in f32, f16 and bf16, by 1, 2 and 3 threads.\n\n");
    printf("Median microseconds per norm, f32, %d threads\n%-21s%12s%12s\n", THREADS, "", "ggml",
           "dynorm");
    ggml_backend_cpu_set_n_threads(backend, THREADS);
    for (int i = 0; i < FUNCTIONS; i++) {
      measure(&functions[i], (struct inputs){one, weight, bias});
      measure(&functions[i], (struct inputs){many, weight, bias});
    }
  }

  ggml_backend_buffer_free(memory);
  ggml_free(context);
  ggml_backend_free(backend);
  return failures != 0;
}
