// See conv_few.h. It decides nothing about tasks, epilogues or packing: that is conv.c's.
#include <string.h>

#include "backends/cpu/conv_few.h"

static uint64_t chain_length(const weir_cpu_conv_shape_t *s)
{
    return s->group_inputs * (uint64_t)s->kernel_height * (uint64_t)s->kernel_width;
}

// The taps of a pixel are a piece of the one input row as it lies, and pixels are evenly apart.
static int reads_in_place(const weir_cpu_conv_shape_t *s)
{
    const int64_t reach = (s->out_width - 1) * s->stride_x + s->kernel_width;
    const int is_row =
        s->group_inputs == 1 && s->dilation_x == 1 && s->pad_left == 0 && reach <= s->width;
    const int is_point = s->out_width == 1 && s->kernel_width == 1 && s->width == 1;
    return is_row || is_point;
}

int weir_cpu_few_takes(const weir_cpu_conv_shape_t *s)
{
    return s->height == 1 && s->out_height == 1 && s->kernel_height == 1 && s->pad_top == 0 &&
           s->out_width <= (int64_t)WEIR_CPU_FEW_PIXELS;
}

uint64_t weir_cpu_few_scratch_bytes(const weir_cpu_conv_shape_t *s)
{
    const uint64_t pixels = (uint64_t)s->out_width;
    const uint64_t taps = reads_in_place(s) ? 0 : weir_cpu_round_up(pixels * chain_length(s), 16);
    return (taps + pixels * WEIR_CPU_FEW_CHANNELS) * sizeof(float);
}

uint64_t weir_cpu_few_tasks(const weir_cpu_conv_shape_t *s)
{
    return WEIR_DIV_UP(s->group_outputs, WEIR_CPU_FEW_CHANNELS);
}

// Taps [begin, end) of pixel `pixel` that lie inside the input; the rest are padding.
static void taps_inside(
    const weir_cpu_conv_shape_t *s, int64_t pixel, int64_t *out_begin, int64_t *out_end)
{
    const int64_t left = pixel * s->stride_x - s->pad_left;
    int64_t begin = 0, end = s->kernel_width;
    while (begin < end && left + begin * s->dilation_x < 0)
        begin++;
    while (end > begin && left + (end - 1) * s->dilation_x >= s->width)
        end--;
    *out_begin = begin;
    *out_end = end;
}

// Every pixel's chain of inputs, one after the other.
static void taps_gather(const weir_cpu_conv_shape_t *s, const float *x, float *to)
{
    const int64_t width = s->kernel_width, step = s->dilation_x;
    for (int64_t pixel = 0; pixel < s->out_width; pixel++) {
        int64_t begin, end;
        taps_inside(s, pixel, &begin, &end);
        const float *from = x + pixel * s->stride_x - s->pad_left;
        if (end - begin < width)
            memset(to, 0, chain_length(s) * sizeof(*to));
        for (uint64_t c = 0; c < s->group_inputs; c++, from += s->width, to += width)
            for (int64_t tap = begin; tap < end; tap++)
                to[tap] = from[tap * step];
    }
}

void weir_cpu_few_run(const weir_cpu_conv_shape_t *s, const weir_k_table_t *kernels, uint64_t part,
    const float *x, const float *panels, const float *bias, float *y, float *scratch)
{
    const uint64_t k = chain_length(s), pixels = (uint64_t)s->out_width;
    const uint64_t first = part * WEIR_CPU_FEW_CHANNELS;
    const uint64_t channels = weir_cpu_min(s->group_outputs - first, WEIR_CPU_FEW_CHANNELS);
    float *sums = pixels == 1 ? y + first : scratch; // [pixels][channels]
    const float *taps = x;
    if (!reads_in_place(s)) {
        float *to = scratch + pixels * WEIR_CPU_FEW_CHANNELS;
        taps_gather(s, x, to);
        taps = to;
    }
    for (uint64_t pixel = 0; pixel < pixels && bias; pixel++)
        memcpy(sums + pixel * channels, bias + first, channels * sizeof(*sums));
    const weir_k_gemm_block_t product = {
        .rows = pixels,
        .columns = channels,
        .k = k,
        .a = taps,
        .a_row = taps == x ? (size_t)s->stride_x : k,
        .a_k = 1,
        .b = panels + first * k,
        .b_panel = k * WEIR_K_PANEL,
        .b_k = WEIR_K_PANEL,
        .c = sums,
        .c_row = channels,
        .resume = bias != NULL,
    };
    kernels->gemm_f32_12x32(&product);
    if (pixels == 1)
        return;
    float *to = y + first * pixels;
    for (uint64_t c = 0; c < channels; c++)
        for (uint64_t pixel = 0; pixel < pixels; pixel++)
            *to++ = sums[pixel * channels + c];
}
