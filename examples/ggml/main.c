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
    if (isnan(apart)) {
      largest = NAN;
      break;
    }
    largest = fmax(largest, apart);
  }
  free(values);
  return largest;
}

/* Rows of 1,001 channels with gaps between rows and planes of a tensor of CHANNELS, from channel `first` on. */
static struct ggml_tensor *with_gaps(struct ggml_context *context, struct ggml_tensor *whole, size_t row,
                                     size_t plane, size_t first) {
  size_t line = whole->nb[1];
  return ggml_view_4d(context, whole, 1001, 5, 3, 2, row * line, plane * line, 64 * line, first * whole->nb[0]);
}

/* Compares the libraries in each element type, on x and a residual, if there is one, with gaps; gives the number of
 * differences. */
static int check(const struct function *function, struct inputs in, int threads) {
  static const struct {
    enum ggml_type type;
    double tolerance;
  } types[] = {{GGML_TYPE_F32, 1e-5}, {GGML_TYPE_F16, 0x1p-11}, {GGML_TYPE_BF16, 0x1p-8}};
  int failures = 0;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct graph graph = graph_new();
    struct ggml_context *context = graph.context;
    bool narrow = types[i].type != GGML_TYPE_F32;
    struct inputs ours = in;
    if (narrow) {
      ours.x = ggml_cast(context, in.x, types[i].type);
      ours.residual = in.residual ? ggml_cast(context, in.residual, types[i].type) : NULL;
    }
    ours.x = with_gaps(context, ours.x, 1, 7, 16);
    ours.residual = in.residual ? with_gaps(context, ours.residual, 2, 11, 3) : NULL;
    struct inputs theirs = ours;
    /* ggml's nodes take f32 without gaps. */
    theirs.x = ggml_cast(context, ours.x, GGML_TYPE_F32);
    if (in.residual) {
      /* The sum as it is stored. */
      theirs.x = ggml_add(context, theirs.x, ggml_cast(context, ours.residual, GGML_TYPE_F32));
      theirs.residual = NULL;
      if (narrow) {
        theirs.x = ggml_cast(context, ggml_cast(context, theirs.x, types[i].type), GGML_TYPE_F32);
      }
    }
    struct dynorm_ggml_sum expected = by_ggml(context, function, theirs);
    struct dynorm_ggml_sum found = by_dynorm(context, function, ours);
    found.y = ggml_cast(context, found.y, GGML_TYPE_F32);
    found.sum = ggml_cast(context, found.sum, GGML_TYPE_F32);
    struct ggml_tensor *results[] = {expected.sum, expected.y, found.sum, found.y};
    for (size_t k = 0; k < sizeof results / sizeof *results; k++) {
      graph_add(&graph, results[k]);
    }
    GGML_ASSERT(ggml_gallocr_alloc_graph(graph.memory, graph.nodes));
    graph_compute(&graph);
    double apart = difference(expected.y, found.y), sums = difference(expected.sum, found.sum);
    if (!(apart <= types[i].tolerance) || sums != 0) {
      printf("%s%s, %s, %d threads: apart by %g, sums by %g\n", function->name, in.residual ? " and residual" : "",
             ggml_type_name(types[i].type), threads, apart, sums);
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
      struct dynorm_ggml_sum made =
          (dynorm ? by_dynorm : by_ggml)(graph->context, function, step);
      step.x = made.y;
      step.residual = in.residual ? made.sum : NULL;
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
  printf("%-10s%-11s%4d x %d", function->name, in.residual ? " + residual" : "", (int)in.x->ne[1],
         (int)in.x->ne[0]);
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

  struct ggml_init_params params = {.mem_size = 32 * ggml_tensor_overhead(), .no_alloc = true};
  struct ggml_context *context = ggml_init(params);
  struct ggml_tensor *one = ggml_new_tensor_2d(context, GGML_TYPE_F32, CHANNELS, 1);
  struct ggml_tensor *many = ggml_new_tensor_2d(context, GGML_TYPE_F32, CHANNELS, 512);
  struct ggml_tensor *residual = ggml_new_tensor_2d(context, GGML_TYPE_F32, CHANNELS, 512);
  struct ggml_tensor *weight = ggml_new_tensor_1d(context, GGML_TYPE_F32, CHANNELS);
  struct ggml_tensor *bias = ggml_new_tensor_1d(context, GGML_TYPE_F32, CHANNELS);
  struct ggml_tensor *weights = ggml_view_1d(context, weight, 1001, 4);
  struct ggml_tensor *biases = ggml_view_1d(context, bias, 1001, 0);
  struct ggml_tensor *first = ggml_view_2d(context, residual, CHANNELS, 1, residual->nb[1], 0);
  ggml_backend_buffer_t memory = ggml_backend_alloc_ctx_tensors(context, backend);
  GGML_ASSERT(memory);
  fill(one);
  fill(many);
  fill(residual);
  fill(weight);
  fill(bias);

  int failures = 0;
  for (int threads = 1; threads <= 3; threads++) {
    ggml_backend_cpu_set_n_threads(backend, threads);
    for (int i = 0; i < FUNCTIONS; i++) {
      failures += check(&functions[i], (struct inputs){many, NULL, weights, biases}, threads);
      failures += check(&functions[i], (struct inputs){many, residual, weights, biases}, threads);
    }
  }
  if (failures == 0) {
    printf("The same results in f32, f16 and bf16, by 1, 2 and 3 threads.\n\n");
    printf("Median microseconds per norm, f32, %d threads\n%-32s%12s%12s\n", THREADS, "", "ggml",
           "dynorm");
    ggml_backend_cpu_set_n_threads(backend, THREADS);
    for (int i = 0; i < FUNCTIONS; i++) {
      measure(&functions[i], (struct inputs){one, NULL, weight, bias});
      measure(&functions[i], (struct inputs){many, NULL, weight, bias});
      measure(&functions[i], (struct inputs){one, first, weight, bias});
      measure(&functions[i], (struct inputs){many, residual, weight, bias});
    }
  }

  ggml_backend_buffer_free(memory);
  ggml_free(context);
  ggml_backend_free(backend);
  return failures != 0;
}
