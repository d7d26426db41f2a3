// Attention in f32: softmax(Q K^T scale + mask) V, a head at a time, the scores of 12 rows in L1.
//
// A task packs K (and V) of its head into panels, then takes 12 rows of Q through both products
// and the softmax between them; scores never reach memory. The two products are the GEMM kernel's:
// one ascending chain an element. The division by the softmax's sum comes last, over the result,
// which may overflow where V is within a factor T of the largest float. How the work is divided
// never changes a bit: rows do not meet.
#include <string.h>

#include "backends/cpu/common.h"

enum { Q, K, V, Y };

#define BLOCK_ROWS_LEAST 96u // packing K and V again for each block of rows costs little beside it

// How a tensor lies; an axis that its layout lacks has size 1.
typedef struct place {
    uint64_t b, h, s, d;
    uint64_t b_step, h_step, s_step, d_step, first;
} place_t;

typedef struct attention_state {
    const weir_k_table_t *kernels;
    place_t at[4];
    uint64_t mask_step[4]; // over b, h, s, t
    float scale;
    uint32_t has_mask;
    uint32_t copies_q; // 12 rows at a time
    uint32_t packs_v;
    uint64_t block_rows, blocks, units, units_per_task, unit_ns;
    uint64_t score_row;             // floats from a row of scores to the next
    uint64_t v_at, q_at, scores_at; // in the scratch, in floats; packed K lies at 0
} attention_state_t;

static const char *const layout_names[4] = {"q_layout", "k_layout", "v_layout", "y_layout"};
static const char *const part_names[3] = {"q_part", "k_part", "v_part"};

weir_code_t weir_cpu_attention_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = weir_cpu_refuse_not_f32(node, 3, out_support);
    if (code != WEIR_OK)
        return code;
    for (uint32_t i = 0; i < 4; i++) {
        const char *layout = weir_cpu_string(node, layout_names[i]);
        const weir_tensor_t *tensor = i == Y ? &node->outputs[0] : &node->inputs[i];
        const size_t length = strlen(layout);
        if (tensor->rank != length || strspn(layout, "bhsdp") != length || !length)
            return weir_cpu_refuse(out_support, "a layout is not known");
        if (i == Y && layout[length - 1] != 'd')
            return weir_cpu_refuse(out_support, "rows of the result are not in one piece");
    }
    if (weir_cpu_has(node, 3) && (node->inputs[3].dtype != WEIR_F32 || node->inputs[3].rank > 4))
        return weir_cpu_refuse(out_support, "the mask is not f32 of at most 4 axes");
    return WEIR_OK;
}

static place_t find_place(const weir_node_t *node, uint32_t i)
{
    const weir_tensor_t *tensor = i == Y ? &node->outputs[0] : &node->inputs[i];
    const char *layout = weir_cpu_string(node, layout_names[i]);
    place_t place = {.b = 1, .h = 1, .s = 1, .d = 1};
    uint64_t step = 1;
    for (uint32_t axis = tensor->rank; axis-- > 0;) {
        const uint64_t dim = (uint64_t)tensor->dims[axis];
        switch (layout[axis]) {
        case 'b':
            place.b = dim;
            place.b_step = step;
            break;
        case 'h':
            place.h = dim;
            place.h_step = step;
            break;
        case 's':
            place.s = dim;
            place.s_step = step;
            break;
        case 'd':
            place.d = dim;
            place.d_step = step;
            break;
        default:
            place.first = (uint64_t)weir_node_int(node, part_names[i % 3], 0) * step;
        }
        step *= dim;
    }
    return place;
}

static void mask_init(attention_state_t *state, const weir_node_t *node)
{
    state->has_mask = (uint32_t)weir_cpu_has(node, 3);
    if (!state->has_mask)
        return;
    const weir_tensor_t *mask = &node->inputs[3];
    uint64_t step = 1;
    for (uint32_t i = 0; i < mask->rank; i++) {
        const uint64_t dim = (uint64_t)mask->dims[mask->rank - 1 - i];
        state->mask_step[3 - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

// Halves the blocks of rows until there are tasks enough; puts small heads together.
static void tasks_init(attention_state_t *state)
{
    const place_t *q = &state->at[Q], *k = &state->at[K], *v = &state->at[V];
    const uint64_t enough = 8, small_ns = 40000;
    const uint64_t row_ns = k->s * (k->d + v->d) / 40 + k->s / 2 + 20;
    const uint64_t pack_ns = k->s * (k->d + v->d) / 4;
    uint64_t rows = q->s;
    while (q->b * q->h * WEIR_DIV_UP(q->s, rows + !rows) < enough && rows > 2 * BLOCK_ROWS_LEAST &&
           rows * row_ns > small_ns)
        rows = weir_cpu_round_up(rows / 2, WEIR_K_TILE_ROWS);
    state->block_rows = rows;
    state->blocks = rows ? WEIR_DIV_UP(q->s, rows) : 0;
    state->units = v->d ? q->b * q->h * state->blocks : 0;
    state->unit_ns = rows * row_ns + pack_ns + 1;
    state->units_per_task = WEIR_MAX(1u, WEIR_CPU_TASK_NS / state->unit_ns);
}

weir_code_t weir_cpu_attention_prepare(
    const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared)
{
    attention_state_t *state;
    const weir_code_t code = weir_cpu_state_new(host, node, sizeof(*state), &state);
    if (code != WEIR_OK)
        return code;
    for (uint32_t i = 0; i < 4; i++)
        state->at[i] = find_place(node, i);
    mask_init(state, node);
    state->scale = (float)weir_node_float(node, "scale", 1.0);
    const place_t *q = &state->at[Q], *k = &state->at[K], *v = &state->at[V];
    tasks_init(state);
    // 12 rows at a multiple of 4 KiB would meet in one L1 set.
    state->copies_q = q->d_step != 1 || q->s_step % 1024 == 0;
    // Few rows read V once or twice: as it lies, if whole panels can be read there.
    state->packs_v =
        v->d_step != 1 || v->d % WEIR_K_PANEL != 0 || q->s > 2 * (uint64_t)WEIR_K_TILE_ROWS;
    state->score_row = weir_cpu_round_up(k->s, WEIR_K_LANES);
    state->score_row += state->score_row % 1024 == 0 ? WEIR_K_LANES : 0;
    state->v_at = weir_cpu_round_up(k->s, WEIR_K_PANEL) * k->d;
    state->q_at = state->v_at + (state->packs_v ? weir_cpu_round_up(v->d, WEIR_K_PANEL) * k->s : 0);
    state->scores_at =
        state->q_at +
        (state->copies_q ? weir_cpu_round_up(WEIR_K_TILE_ROWS * q->d, WEIR_K_LANES) : 0);
    out_prepared->state = state;
    out_prepared->scratch_bytes =
        (state->scores_at + WEIR_K_TILE_ROWS * state->score_row) * sizeof(float);
    return WEIR_OK;
}

void weir_cpu_attention_tasks(const weir_node_t *node, void *opaque, weir_tasks_t *out_tasks)
{
    const attention_state_t *state = opaque;
    (void)node;
    weir_cpu_tasks_one(out_tasks, state->units, state->units_per_task, state->unit_ns);
}

// One head: where its tensors begin.
typedef struct head {
    const float *q, *k, *v, *mask;
    float *y;
    float *scratch;
} head_t;

static head_t head_of(const attention_state_t *state, const weir_task_t *task, uint64_t number)
{
    const uint64_t b = number / state->at[Q].h, h = number % state->at[Q].h;
    uint64_t offset[4];
    for (uint32_t i = 0; i < 4; i++)
        offset[i] = state->at[i].first + b * state->at[i].b_step + h * state->at[i].h_step;
    return (head_t){
        .q = (const float *)task->inputs[Q].data + offset[Q],
        .k = (const float *)task->inputs[K].data + offset[K],
        .v = (const float *)task->inputs[V].data + offset[V],
        .mask = state->has_mask ? (const float *)task->inputs[3].data + b * state->mask_step[0] +
                                      h * state->mask_step[1]
                                : NULL,
        .y = (float *)task->outputs[0].data + offset[Y],
        .scratch = task->scratch,
    };
}

static void head_pack(const attention_state_t *state, const head_t *head)
{
    const place_t *k = &state->at[K], *v = &state->at[V];
    state->kernels->pack_f32_x32(k->d, k->s, head->k, k->d_step, k->s_step, head->scratch);
    if (state->packs_v)
        state->kernels->pack_f32_x32(
            v->s, v->d, head->v, v->s_step, v->d_step, head->scratch + state->v_at);
}

static void q_copy(const attention_state_t *state, const float *q, uint64_t rows, float *to)
{
    const place_t *place = &state->at[Q];
    for (uint64_t row = 0; row < rows; row++)
        for (uint64_t d = 0; d < place->d; d++)
            to[row * place->d + d] = q[row * place->s_step + d * place->d_step];
}

// Rows [row, row + rows), at most 12, of one head.
static void rows_run(
    const attention_state_t *state, const head_t *head, uint64_t row, uint64_t rows)
{
    const place_t *q = &state->at[Q], *k = &state->at[K], *v = &state->at[V], *y = &state->at[Y];
    float *scores = head->scratch + state->scores_at;
    float sums[WEIR_K_TILE_ROWS];
    weir_k_gemm_block_t product = {
        .rows = rows,
        .columns = k->s,
        .k = k->d,
        .a = head->q + row * q->s_step,
        .a_row = q->s_step,
        .a_k = 1,
        .b = head->scratch,
        .b_panel = k->d * WEIR_K_PANEL,
        .b_k = WEIR_K_PANEL,
        .c = scores,
        .c_row = state->score_row,
    };
    if (state->copies_q) {
        q_copy(state, product.a, rows, head->scratch + state->q_at);
        product.a = head->scratch + state->q_at;
        product.a_row = q->d;
    }
    state->kernels->gemm_f32_12x32(&product);
    for (uint64_t i = 0; i < rows; i++)
        sums[i] = state->kernels->attend_f32(k->s, state->scale,
            head->mask ? head->mask + (row + i) * state->mask_step[2] : NULL, state->mask_step[3],
            scores + i * state->score_row);
    float *to = head->y + row * y->s_step;
    for (uint64_t t = 0; t < k->s; t += WEIR_CPU_BLOCK_K) {
        product = (weir_k_gemm_block_t){
            .rows = rows,
            .columns = v->d,
            .k = weir_cpu_min(k->s - t, WEIR_CPU_BLOCK_K),
            .a = scores + t,
            .a_row = state->score_row,
            .a_k = 1,
            .b = state->packs_v ? head->scratch + state->v_at + t * WEIR_K_PANEL
                                : head->v + t * v->s_step,
            .b_panel = state->packs_v ? k->s * WEIR_K_PANEL : WEIR_K_PANEL,
            .b_k = state->packs_v ? WEIR_K_PANEL : v->s_step,
            .c = to,
            .c_row = y->s_step,
            .resume = t > 0,
        };
        state->kernels->gemm_f32_12x32(&product);
    }
    for (uint64_t i = 0; i < rows; i++)
        if (k->s)
            state->kernels->divide_f32(v->d, to + i * y->s_step, sums[i], to + i * y->s_step);
        else // the empty sum
            memset(to + i * y->s_step, 0, v->d * sizeof(*to));
}

weir_code_t weir_cpu_attention_run(const weir_task_t *task)
{
    const attention_state_t *state = task->state;
    uint64_t first, end, packed = UINT64_MAX;
    weir_cpu_task_range(task, state->units, state->units_per_task, &first, &end);
    for (uint64_t unit = first; unit < end; unit++) {
        const uint64_t number = unit / state->blocks;
        const uint64_t from = unit % state->blocks * state->block_rows;
        const uint64_t to = weir_cpu_min(from + state->block_rows, state->at[Q].s);
        const head_t head = head_of(state, task, number);
        if (number != packed)
            head_pack(state, &head);
        packed = number;
        for (uint64_t row = from; row < to; row += WEIR_K_TILE_ROWS)
            rows_run(state, &head, row, weir_cpu_min(to - row, WEIR_K_TILE_ROWS));
    }
    return WEIR_OK;
}
