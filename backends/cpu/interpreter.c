// The interpreter of expression programs: tiles of WEIR_CPU_TILE elements, one kernel call a step.
//
// A tile's operands are read where they lie if they are dense there, and gathered into a slot if
// not. The kernels work on whole groups of WEIR_K_LANES, so a short tile lives in slots and is
// copied out. A block of short rows is one tile too: its rows lie side by side in the slots. It
// allocates nothing and writes only its own range of the outputs.
#include <string.h>

#include "backends/cpu/expression.h"

static void *slot_of(const weir_cpu_interpreter_t *in, const weir_cpu_step_t *step)
{
    return in->scratch + (size_t)step->slot * in->program->slot_bytes;
}

static void fill_f32(float *to, uint64_t count, const void *from)
{
    float value;
    memcpy(&value, from, sizeof(value));
    for (uint64_t i = 0; i < count; i++)
        to[i] = value;
}

static void fill_i64(int64_t *to, uint64_t count, const void *from)
{
    int64_t value;
    memcpy(&value, from, sizeof(value));
    for (uint64_t i = 0; i < count; i++)
        to[i] = value;
}

// `count` elements at distance `stride`, as they lie in a slot. BOOLs become masks.
static void gather(
    void *to, const void *from, int64_t stride, uint64_t count, uint32_t element_bytes)
{
    if (element_bytes == 1) {
        const uint8_t *source = from;
        for (uint64_t i = 0; i < count; i++)
            ((uint32_t *)to)[i] = source[(int64_t)i * stride] ? UINT32_MAX : 0;
    } else if (stride == 1) {
        memcpy(to, from, count * element_bytes);
    } else if (element_bytes == 4) {
        const uint32_t *source = from;
        if (stride == 0)
            fill_f32(to, count, from);
        else
            for (uint64_t i = 0; i < count; i++)
                ((uint32_t *)to)[i] = source[(int64_t)i * stride];
    } else {
        const int64_t *source = from;
        if (stride == 0)
            fill_i64(to, count, from);
        else
            for (uint64_t i = 0; i < count; i++)
                ((int64_t *)to)[i] = source[(int64_t)i * stride];
    }
}

// Do 16 values repeat over a stretch of pixels, as one block of channels does?
static int is_lane_pattern(const weir_cpu_view_t *view)
{
    const uint32_t inner = view->rank - 1;
    return view->rank > 1 && view->element_bytes == 4 && view->extents[inner] == WEIR_K_LANES &&
           view->strides[inner] == 1 && view->strides[inner - 1] == 0;
}

static void lanes_repeat(const weir_cpu_view_t *view, const unsigned char *data, uint64_t *at,
    int64_t offset, uint64_t count, unsigned char *to)
{
    const uint32_t pixel = view->rank - 2;
    for (uint64_t done = 0; done < count;) {
        const uint64_t run =
            weir_cpu_min(view->extents[pixel] - at[pixel], (count - done) / WEIR_K_LANES);
        for (uint64_t i = 0; i < run; i++, to += 4 * WEIR_K_LANES)
            memcpy(to, data + offset * 4, 4 * WEIR_K_LANES);
        done += run * WEIR_K_LANES;
        at[pixel] += run;
        for (uint32_t d = pixel; at[d] == view->extents[d] && d > 0; d--) {
            offset += view->strides[d - 1] - (int64_t)at[d] * view->strides[d];
            at[d] = 0;
            at[d - 1]++;
        }
    }
}

// Where the elements [first, first + count) of a view are: their own memory if they lie there as
// the kernels need them, otherwise the slot that they have been gathered into.
static const void *view_tile(const weir_cpu_view_t *view, const unsigned char *data, void *slot,
    uint64_t first, uint64_t count, int may_stay)
{
    uint64_t at[WEIR_RANK_MAX], rest = first;
    int64_t offset = 0;
    for (uint32_t d = view->rank; d-- > 0;) {
        at[d] = rest % view->extents[d];
        rest /= view->extents[d];
        offset += (int64_t)at[d] * view->strides[d];
    }
    const uint32_t inner = view->rank - 1;
    const int64_t stride = view->strides[inner], bytes = view->element_bytes;
    if (may_stay && stride == 1 && bytes > 1 && view->extents[inner] - at[inner] >= count)
        return data + offset * bytes;
    if (count % WEIR_K_LANES == 0 && is_lane_pattern(view) && at[inner] == 0) {
        lanes_repeat(view, data, at, offset, count, slot);
        return slot;
    }
    const uint32_t slot_bytes = bytes == 8 ? 8 : 4;
    unsigned char *to = slot;
    for (uint64_t done = 0; done < count;) {
        const uint64_t run = weir_cpu_min(view->extents[inner] - at[inner], count - done);
        gather(to, data + offset * bytes, stride, run, view->element_bytes);
        to += run * slot_bytes;
        done += run;
        at[inner] += run;
        offset += (int64_t)run * stride;
        for (uint32_t d = inner; at[d] == view->extents[d] && d > 0; d--) {
            offset += view->strides[d - 1] - (int64_t)at[d] * view->strides[d];
            at[d] = 0;
            at[d - 1]++;
        }
    }
    return slot;
}

void weir_cpu_interpreter_begin(weir_cpu_interpreter_t *in, const weir_cpu_program_t *program,
    const weir_tensor_t *inputs, const weir_tensor_t *outputs, void *scratch)
{
    in->program = program;
    in->inputs = inputs;
    in->outputs = outputs;
    in->scratch = scratch;
    const uint64_t count =
        weir_cpu_min(WEIR_CPU_TILE, weir_cpu_round_up(program->element_count, WEIR_K_LANES));
    for (uint32_t i = 0; i < program->step_count; i++) {
        const weir_cpu_step_t *step = &program->steps[i];
        if (step->slot == WEIR_CPU_NONE)
            continue;
        void *slot = slot_of(in, step);
        in->at[i] = slot;
        if (!step->is_pinned)
            continue;
        if (step->kind == WEIR_CPU_STEP_LOAD) {
            const weir_cpu_view_t *view = &program->views[step->view];
            gather(slot, inputs[view->input].data, 0, count, view->element_bytes);
        } else if (step->dtype == WEIR_F32) {
            fill_f32(slot, count, &step->immediates.f[0]);
        } else if (step->dtype == WEIR_I64) {
            fill_i64(slot, count, &step->integer);
        } else {
            const uint32_t bits = step->dtype == WEIR_BOOL ? (step->integer ? UINT32_MAX : 0)
                                                           : (uint32_t)step->integer;
            fill_f32(slot, count, &bits);
        }
    }
}

static void output_store(
    const weir_tensor_t *output, uint64_t first, uint64_t count, const void *from)
{
    const uint32_t bytes = weir_dtype_bytes(output->dtype);
    unsigned char *to = (unsigned char *)output->data + first * bytes;
    if (output->dtype == WEIR_BOOL) {
        for (uint64_t i = 0; i < count; i++)
            to[i] = (unsigned char)(((const uint32_t *)from)[i] & 1u);
    } else if (to != from) {
        memcpy(to, from, count * bytes);
    }
}

// The place in an output that step `number` may write straight: only the last step, because every
// other value has been read by then, whatever operand lies in that memory.
static void *direct_output(
    const weir_cpu_interpreter_t *in, uint32_t number, uint64_t first, uint64_t count)
{
    const weir_cpu_program_t *program = in->program;
    if (number + 1 != program->step_count || count % WEIR_K_LANES)
        return NULL;
    for (uint32_t j = 0; j < program->output_count; j++) {
        const weir_tensor_t *output = &in->outputs[j];
        if (program->outputs[j] == number && output->dtype != WEIR_BOOL)
            return (unsigned char *)output->data + first * weir_dtype_bytes(output->dtype);
    }
    return NULL;
}

// Lanes past a short tile's end are computed and dropped; they shall not be garbage.
static void clear_lanes(
    const weir_cpu_interpreter_t *in, const weir_cpu_step_t *step, uint64_t count, uint64_t lanes)
{
    const size_t bytes = step->dtype == WEIR_I64 ? 8 : 4;
    memset((unsigned char *)slot_of(in, step) + count * bytes, 0, (lanes - count) * bytes);
}

static void tile_run(weir_cpu_interpreter_t *in, uint64_t first, uint64_t count)
{
    const weir_cpu_program_t *program = in->program;
    const uint64_t lanes = weir_cpu_round_up(count, WEIR_K_LANES);
    for (uint32_t i = 0; i < program->step_count; i++) {
        const weir_cpu_step_t *step = &program->steps[i];
        if (step->is_pinned || step->kind == WEIR_CPU_STEP_SAME)
            continue;
        // What is an output too must survive until the end, though its memory may be written
        // before.
        const int may_stay = lanes == count && !step->is_output;
        if (lanes != count && step->kind != WEIR_CPU_STEP_MAP)
            clear_lanes(in, step, count, lanes);
        if (step->kind == WEIR_CPU_STEP_LOAD) {
            const weir_cpu_view_t *view = &program->views[step->view];
            in->at[i] = view_tile(
                view, in->inputs[view->input].data, slot_of(in, step), first, count, may_stay);
        } else if (step->kind == WEIR_CPU_STEP_ANCHOR) {
            const float *anchor = (const float *)in->outputs[0].data + first;
            in->at[i] = may_stay ? anchor : memcpy(slot_of(in, step), anchor, count * 4);
        } else {
            void *to = direct_output(in, i, first, count);
            if (!to)
                to = slot_of(in, step);
            step->kernel(lanes, in->at[step->a], step->b == WEIR_CPU_NONE ? NULL : in->at[step->b],
                step->c == WEIR_CPU_NONE ? NULL : in->at[step->c], to, &step->immediates);
            in->at[i] = to;
        }
    }
    for (uint32_t j = 0; j < program->output_count; j++)
        output_store(&in->outputs[j], first, count, in->at[program->outputs[j]]);
}

// `columns` elements of each of `rows` rows of the output, from element `first` on.
typedef struct block {
    uint64_t first, rows, columns, row_elements;
} block_t;

// Rows of whole groups of WEIR_K_LANES elements; distances in bytes. A call of memcpy would cost
// more than such a row.
static void rows_copy(uint64_t rows, uint64_t row_bytes, const unsigned char *from,
    int64_t from_distance, unsigned char *to, uint64_t to_distance)
{
    for (uint64_t row = 0; row < rows; row++, from += from_distance, to += to_distance)
        for (uint64_t i = 0; i < row_bytes; i += 4 * WEIR_K_LANES)
            memcpy(to + i, from + i, 4 * WEIR_K_LANES);
}

// The rows of an operand, side by side in a slot.
static void view_rows(
    const weir_cpu_view_t *view, const unsigned char *data, unsigned char *slot, const block_t *b)
{
    const uint32_t inner = view->rank - 1;
    const int64_t bytes = view->element_bytes;
    const uint64_t row_bytes = b->columns * (bytes == 8 ? 8 : 4);
    const int is_dense = bytes > 1 && view->strides[inner] == 1;
    if (is_dense && view->rank == 1) {
        rows_copy(b->rows, row_bytes, data + (int64_t)b->first * bytes,
            (int64_t)b->row_elements * bytes, slot, row_bytes);
    } else if (is_dense && view->rank == 2 && view->extents[1] == b->row_elements) {
        const int64_t row = (int64_t)(b->first / b->row_elements);
        const int64_t column = (int64_t)(b->first % b->row_elements);
        rows_copy(b->rows, row_bytes, data + (row * view->strides[0] + column) * bytes,
            view->strides[0] * bytes, slot, row_bytes);
    } else {
        for (uint64_t row = 0; row < b->rows; row++, slot += row_bytes)
            (void)view_tile(view, data, slot, b->first + row * b->row_elements, b->columns, 0);
    }
}

static void block_run(weir_cpu_interpreter_t *in, const block_t *b)
{
    const weir_cpu_program_t *program = in->program;
    for (uint32_t i = 0; i < program->step_count; i++) {
        const weir_cpu_step_t *step = &program->steps[i];
        if (step->is_pinned || step->kind == WEIR_CPU_STEP_SAME)
            continue;
        void *to = slot_of(in, step);
        if (step->kind == WEIR_CPU_STEP_LOAD) {
            const weir_cpu_view_t *view = &program->views[step->view];
            view_rows(view, in->inputs[view->input].data, to, b);
        } else if (step->kind == WEIR_CPU_STEP_ANCHOR) {
            rows_copy(b->rows, b->columns * 4,
                (const unsigned char *)((const float *)in->outputs[0].data + b->first),
                (int64_t)b->row_elements * 4, to, b->columns * 4);
        } else {
            step->kernel(b->rows * b->columns, in->at[step->a],
                step->b == WEIR_CPU_NONE ? NULL : in->at[step->b],
                step->c == WEIR_CPU_NONE ? NULL : in->at[step->c], to, &step->immediates);
        }
        in->at[i] = to;
    }
    for (uint32_t j = 0; j < program->output_count; j++) {
        const weir_tensor_t *output = &in->outputs[j];
        const unsigned char *from = in->at[program->outputs[j]];
        const uint64_t bytes = weir_dtype_bytes(output->dtype);
        const uint64_t row_bytes = b->columns * (bytes == 8 ? 8 : 4);
        if (output->dtype != WEIR_BOOL)
            rows_copy(b->rows, row_bytes, from, (int64_t)row_bytes,
                (unsigned char *)output->data + b->first * bytes, b->row_elements * bytes);
        else
            for (uint64_t row = 0; row < b->rows; row++)
                output_store(
                    output, b->first + row * b->row_elements, b->columns, from + row * row_bytes);
    }
}

void weir_cpu_interpreter_rows(weir_cpu_interpreter_t *in, uint64_t first, uint64_t rows,
    uint64_t columns, uint64_t row_elements)
{
    const uint64_t most = columns ? WEIR_CPU_TILE / columns : 0;
    for (uint64_t row = 0; row < rows;) {
        const block_t block = {.first = first + row * row_elements,
            .rows = weir_cpu_min(most, rows - row),
            .columns = columns,
            .row_elements = row_elements};
        if (block.rows < 2 || columns % WEIR_K_LANES) {
            weir_cpu_interpreter_run(in, block.first, columns);
            row++;
        } else {
            block_run(in, &block);
            row += block.rows;
        }
    }
}

void weir_cpu_interpreter_run(weir_cpu_interpreter_t *in, uint64_t first, uint64_t count)
{
    while (count > 0) {
        const uint64_t tile = weir_cpu_min(count, WEIR_CPU_TILE);
        tile_run(in, first, tile);
        first += tile;
        count -= tile;
    }
}
