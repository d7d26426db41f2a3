// How much of the machine's FMA ceiling weir_cpu's f32 Conv in blocked format reaches, on one
// thread.
//
//   bench_conv [PLUGIN.so] SHAPES.txt [--isa NAME] [--turns N]
//
// SHAPES.txt: a line for each shape, "channels height width outputs kernel stride pad groups
// times"; # begins a comment. Ceiling and Conv are timed in turns, each ratio from neighbours in
// time, in this thread's CPU time; the figure is the median of the ratios. Flops are those of the
// direct algorithm. Prints a line for people and a JSON line for each shape, then the sum over all
// of them as often as they occur. Exit code 2: it could not run, or a sum was wrong.
#include <math.h>

#include "benchmarks/kernels/ceiling.h"
#include "tests/kernels/cpu_host.h"

#define TURNS_MAX 1001

typedef struct shape {
    long long channels, height, width, outputs, kernel, stride, pad, groups, times;
    long long rows, columns; // of the output
} shape_t;

typedef struct result {
    double seconds, gflops, ratio;
} result_t;

static float *random_floats(size_t count)
{
    float *numbers = aligned_alloc(64, (count * sizeof(float) + 64) / 64 * 64);
    uint32_t state = 1;
    for (size_t i = 0; numbers && i < count; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (float)(state >> 8) / 16777216.0f - 0.5f;
    }
    return numbers;
}

static const weir_kernel_t *kernel_named(const weir_plugin_t *plugin, const char *name)
{
    for (uint32_t i = 0; i < plugin->kernels.count; i++) {
        const unsigned char *at = plugin->kernels.data;
        const weir_kernel_t *kernel = (const void *)(at + (size_t)i * plugin->kernels.stride);
        if (!strcmp(kernel->name, name))
            return kernel;
    }
    return NULL;
}

static weir_tensor_t tensor_of(
    float *data, const int64_t *dims, size_t floats, uint32_t format, uint32_t flags)
{
    return (weir_tensor_t){.data = data,
        .bytes = floats * sizeof(float),
        .element_count = (uint64_t)(dims[0] * dims[1] * dims[2] * dims[3]),
        .dims = dims,
        .dtype = WEIR_F32,
        .rank = 4,
        .format = format,
        .flags = flags};
}

static size_t place(int64_t pixels, int64_t channel, int64_t pixel, int in_blocks)
{
    return in_blocks ? (size_t)((channel / 16 * pixels + pixel) * 16 + channel % 16)
                     : (size_t)(channel * pixels + pixel);
}

// The largest error of a few outputs against double, so that no wrong sum is timed.
static double spot_error(
    const shape_t *s, int in_blocks, const float *x, const float *w, const float *y)
{
    double worst = 0;
    const long long inputs = s->channels / s->groups, of_group = s->outputs / s->groups;
    for (long long i = 0; i < 32; i++) {
        const long long c = i * 7919 % s->outputs, pixel = i * 104729 % (s->rows * s->columns);
        const long long top = pixel / s->columns * s->stride - s->pad;
        const long long left = pixel % s->columns * s->stride - s->pad;
        double sum = 0;
        for (long long k = 0; k < inputs * s->kernel * s->kernel; k++) {
            const long long in_y = top + k / s->kernel % s->kernel, in_x = left + k % s->kernel;
            const long long channel = c / of_group * inputs + k / s->kernel / s->kernel;
            if (in_y >= 0 && in_y < s->height && in_x >= 0 && in_x < s->width)
                sum +=
                    (double)
                        x[place(s->height * s->width, channel, in_y * s->width + in_x, in_blocks)] *
                    (double)w[c * inputs * s->kernel * s->kernel + k];
        }
        const float got = y[place(s->rows * s->columns, c, pixel, 1)];
        worst = fmax(worst, fabs(sum - (double)got));
    }
    return worst;
}

static int measure(cpu_host_t *host, const weir_plugin_t *plugin, const shape_t *s, size_t turns,
    result_t *out_result)
{
    static double ratios[TURNS_MAX], times[TURNS_MAX];
    const int in_blocks = s->channels > 4;
    const weir_kernel_t *kernel =
        kernel_named(plugin, in_blocks ? "cpu.conv_f32_blocked" : "cpu.conv_f32_first");
    const int64_t inputs = s->channels / s->groups;
    const int64_t x_dims[4] = {1, s->channels, s->height, s->width};
    const int64_t w_dims[4] = {s->outputs, inputs, s->kernel, s->kernel};
    const int64_t y_dims[4] = {1, s->outputs, s->rows, s->columns};
    const int64_t strides[2] = {s->stride, s->stride}, pads[4] = {s->pad, s->pad, s->pad, s->pad};
    const size_t x_floats =
        (size_t)((in_blocks ? (s->channels + 15) / 16 * 16 : s->channels) * s->height * s->width);
    const size_t w_floats = (size_t)(s->outputs * inputs * s->kernel * s->kernel);
    const size_t y_floats = (size_t)((s->outputs + 15) / 16 * 16 * s->rows * s->columns);
    float *x = random_floats(x_floats), *w = random_floats(w_floats), *y = random_floats(y_floats);
    if (!kernel || !x || !w || !y)
        return 2;
    const weir_tensor_t in[2] = {
        tensor_of(x, x_dims, x_floats, in_blocks ? WEIR_FORMAT_NCHW16C : 0, 0),
        tensor_of(w, w_dims, w_floats, 0, WEIR_TENSOR_CONSTANT)};
    const weir_tensor_t out = tensor_of(y, y_dims, y_floats, WEIR_FORMAT_NCHW16C, 0);
    const weir_attribute_t attributes[3] = {
        {.name = "strides", .type = WEIR_ATTR_INTS, .count = 2, .ints = strides},
        {.name = "pads", .type = WEIR_ATTR_INTS, .count = 4, .ints = pads},
        {.name = "group", .type = WEIR_ATTR_INT, .i = s->groups}};
    const weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "Conv",
        .origin = "bench",
        .revision = 1,
        .input_count = 2,
        .output_count = 1,
        .attribute_count = 3,
        .inputs = in,
        .outputs = &out,
        .attributes = attributes};
    cpu_prepared_t prepared;
    if (cpu_host_prepare(host, kernel, &node, &prepared) != WEIR_OK) {
        fprintf(stderr, "Conv: %s\n", host->message);
        return 2;
    }
    const double flops = 2.0 * (double)w_floats * (double)(s->rows * s->columns);
    for (size_t turn = 0; turn < turns + 2; turn++) { // two turns to warm up
        const double before = ceiling_gflops(), start = seconds();
        int64_t runs = 0;
        do {
            cpu_host_run(&prepared, 0);
            runs++;
        } while (seconds() - start < 2e-3);
        const double time = (seconds() - start) / (double)runs;
        const double after = ceiling_gflops();
        if (turn < 2)
            continue;
        times[turn - 2] = time;
        ratios[turn - 2] = flops / time * 1e-9 / fmax(before, after);
    }
    const double error = spot_error(s, in_blocks, x, w, y);
    cpu_host_release(&prepared);
    free(x);
    free(w);
    free(y);
    if (!(error < 1e-4)) {
        fprintf(stderr, "Conv is wrong by %g\n", error);
        return 2;
    }
    out_result->seconds = median(times, turns);
    out_result->gflops = flops / out_result->seconds * 1e-9;
    out_result->ratio = median(ratios, turns);
    return 0;
}

static void print_result(const shape_t *s, const result_t *r, const char *isa, const char *build)
{
    printf("Conv f32 %lldx%lldx%lld to %lld, %lldx%lld/%lld, %lld groups  %s  %.1f GFLOP/s "
           "(%.1f %%)  %.0f us\n",
        s->channels, s->height, s->width, s->outputs, s->kernel, s->kernel, s->stride, s->groups,
        isa, r->gflops, 100 * r->ratio, 1e6 * r->seconds);
    printf("{\"benchmark\":\"conv_f32\",\"channels\":%lld,\"height\":%lld,\"width\":%lld,"
           "\"outputs\":%lld,\"kernel\":%lld,\"stride\":%lld,\"groups\":%lld,\"isa\":\"%s\","
           "\"gflops\":%.2f,\"ratio\":%.4f,\"build\":\"%s\"}\n",
        s->channels, s->height, s->width, s->outputs, s->kernel, s->stride, s->groups, isa,
        r->gflops, r->ratio, build);
}

// The next shape of the file; 0: there is none, -1: a line that is none.
static int shape_read(FILE *file, shape_t *s)
{
    char line[256];
    while (fgets(line, sizeof(line), file)) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        const int read =
            sscanf(line, "%lld %lld %lld %lld %lld %lld %lld %lld %lld", &s->channels, &s->height,
                &s->width, &s->outputs, &s->kernel, &s->stride, &s->pad, &s->groups, &s->times);
        if (read != 9 || s->channels < 1 || s->outputs < 1 || s->kernel < 1 || s->stride < 1 ||
            s->groups < 1 || s->height + 2 * s->pad < s->kernel ||
            s->width + 2 * s->pad < s->kernel)
            return -1;
        s->rows = (s->height + 2 * s->pad - s->kernel) / s->stride + 1;
        s->columns = (s->width + 2 * s->pad - s->kernel) / s->stride + 1;
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    size_t turns = 15;
    const char *plugin_path = NULL, *shapes_path = NULL, *isa = NULL;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--isa"))
            isa = value, i++;
        else if (!strcmp(argv[i], "--turns"))
            turns = WEIR_MIN(WEIR_MAX((size_t)atoi(value), 1u), (size_t)TURNS_MAX), i++;
        else if (strstr(argv[i], ".so"))
            plugin_path = argv[i];
        else
            shapes_path = argv[i];
    }
    FILE *file = shapes_path ? fopen(shapes_path, "r") : NULL;
    if (!file) {
        fprintf(stderr, "usage: bench_conv [PLUGIN.so] SHAPES.txt [--isa NAME] [--turns N]\n");
        return 2;
    }
    cpu_host_t host;
    cpu_host_init(&host, isa);
    if (!plugin_path)
        plugin_path = built_plugin();
    const weir_plugin_t *plugin = cpu_host_open(&host, plugin_path);
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    if (!plugin || plugin->probe(&host.host, &support) != WEIR_OK) {
        fprintf(stderr, "%s: %s%s\n", plugin_path, host.message, support.reason);
        return 2;
    }
    shape_t shape;
    result_t result;
    double all_seconds = 0, all_flops = 0;
    int got;
    while ((got = shape_read(file, &shape)) > 0) {
        if (measure(&host, plugin, &shape, turns, &result))
            return 2;
        print_result(&shape, &result, support.reason, plugin->build);
        all_seconds += result.seconds * (double)shape.times;
        all_flops += result.gflops * 1e9 * result.seconds * (double)shape.times;
    }
    fclose(file);
    if (got < 0) {
        fprintf(stderr, "%s: a line that is no shape\n", shapes_path);
        return 2;
    }
    printf("all of %s: %.2f ms, %.1f GFLOP/s\n", shapes_path, 1e3 * all_seconds,
        1e-9 * all_flops / all_seconds);
    return 0;
}
