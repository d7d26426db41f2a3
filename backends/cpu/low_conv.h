// Where a convolution in chunks of 64 bytes (bf16 or u8) finds and puts things: geometry alone, the
// same for both.
//
// A strip of outputs (whole rows, or part of one) is made from a copy of its inputs: planes of
// pixels, a pixel of a plane being one chunk of channels, 64 bytes. With a stride the pixels are
// sorted by their remainders, a plane for each, so that what one tap reads for neighbouring outputs
// always lies side by side. Outputs are numbered along the planes' rows, so between two rows of
// outputs there are some that nobody wants: they are computed and dropped.
#ifndef WEIR_BACKENDS_CPU_LOW_CONV_H
#define WEIR_BACKENDS_CPU_LOW_CONV_H

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/low.h"

#define WEIR_CPU_LOW_TAPS 1024u
#define WEIR_CPU_LOW_PLANES 16u

typedef struct weir_cpu_low_conv {
    weir_cpu_conv_shape_t shape;
    uint64_t taps, channel_chunks, chunks; // chunks: of all channels and taps
    uint64_t plane_count;
    uint64_t plane_y[WEIR_CPU_LOW_PLANES], plane_x[WEIR_CPU_LOW_PLANES]; // their remainders
    uint64_t reach_y, reach_x;                  // how far a tap reaches in a plane
    uint64_t strip_rows, strip_columns, strips; // of outputs; of one image
    uint64_t row_strips, column_strips;         // strips of an image: rows times columns
    uint64_t plane_columns, plane_pixels;
    uint64_t panels, panels_per_task, panel_tasks;
    uint64_t a_bytes; // of the copy, with what may be read behind it
    // Of a row-major input with few channels: see below. unit_bytes 0: it is none.
    uint64_t unit_bytes, first_columns, first_bytes;
} weir_cpu_low_conv_t;

// One strip: outputs [row, row + rows) x [column, column + columns) of image `image`.
typedef struct weir_cpu_low_strip {
    uint64_t image, row, column, rows, columns;
    uint64_t outputs; // along the planes' rows, those that nobody wants included
} weir_cpu_low_strip_t;

// In what follows `node` is a Conv of X, W and B; elements have 1 or 2 bytes.

// Can it be done so? Weights must be constant; one group; two spatial dims. is_first: X is
// row-major with few channels: up to 4 of them lie side by side, a row of taps is one unit of 16,
// 32 or 64 bytes, and a chunk holds as many units as fit.
weir_code_t weir_cpu_low_conv_supports(
    const weir_node_t *node, uint32_t element_bytes, int is_first, weir_support_t *out_support);

// Divides the work. shape and taps are set. NULL, or what is wrong.
const char *weir_cpu_low_conv_init(weir_cpu_low_conv_t *conv, uint32_t element_bytes, int is_first);

// How many chunks it will have: known before anything else.
uint64_t weir_cpu_low_conv_chunks(const weir_node_t *node, uint32_t element_bytes, int is_first);

// Where each chunk of the copy begins: [conv->chunks].
void weir_cpu_low_conv_places(const weir_cpu_low_conv_t *conv, uint32_t *out_at);

// Bytes of packed weights, and packing them: f32 is rounded to bf16, i8 stays.
uint64_t weir_cpu_low_conv_weights(const weir_node_t *node, uint32_t element_bytes, int is_first);
void weir_cpu_low_conv_pack(
    const weir_node_t *node, uint32_t element_bytes, int is_first, unsigned char *to);

uint64_t weir_cpu_low_conv_tasks(const weir_cpu_low_conv_t *conv);

weir_cpu_low_strip_t weir_cpu_low_conv_strip(const weir_cpu_low_conv_t *conv, uint64_t number);

// Outputs [first, end) of a strip, as they are numbered, are some runs of pixels with gaps between.
// Fills in the next run and moves first behind it; 0: there is none.
typedef struct weir_cpu_low_span {
    uint64_t first, end;
    uint64_t at, pixel, columns; // its first output's number, and pixel of the image
} weir_cpu_low_span_t;
int weir_cpu_low_conv_span(const weir_cpu_low_conv_t *conv, const weir_cpu_low_strip_t *strip,
    weir_cpu_low_span_t *inout_span);

// One run of pixels of one row of one plane of a strip's copy: `before` of padding, `inside` that
// begin at input pixel `from` (of the image), `step` apart, `behind` of padding.
typedef struct weir_cpu_low_run {
    uint64_t before, inside, behind, from, step;
} weir_cpu_low_run_t;
weir_cpu_low_run_t weir_cpu_low_conv_run(const weir_cpu_low_conv_t *conv,
    const weir_cpu_low_strip_t *strip, uint64_t plane, uint64_t row);

// The copy of a strip of a row-major image: first its channels side by side into `pixels`
// (first_bytes), f32 rounded to bf16, bytes exclusive-or `flip`, `pad` where there is none; then
// the units into `to`.
void weir_cpu_low_conv_first(const weir_cpu_low_conv_t *conv, const weir_cpu_low_strip_t *strip,
    const weir_tensor_t *x, unsigned char flip, unsigned char pad, unsigned char *pixels,
    unsigned char *to);

#endif
