// kernels/cuda/attention_body.cuh: for one type of floating point; included by attention.cuh.

// Rows of a tensor into shared memory, `depth` of each.
WEIR_DEVICE void WEIR_LOCAL(attention_load)(const WEIR_STORED *from, uint64_t row_step,
    uint64_t depth_step, uint32_t rows, uint32_t depth, float *to, uint32_t pitch)
{
    for (uint32_t r = WEIR_THREAD / 32; r < rows; r += WEIR_ATTENTION_WARPS)
        for (uint32_t d = WEIR_THREAD % 32; d < depth; d += 32)
            to[r * pitch + d] = WEIR_GET(from, r * row_step + d * depth_step);
}

WEIR_DEVICE void WEIR_BODY(attention)(
    const weir_cuda_attention_params_t *p, weir_cuda_attention_shared_t *shared)
{
    const uint32_t head = WEIR_BLOCK_X / p->row_tiles % p->heads;
    const uint32_t batch = WEIR_BLOCK_X / p->row_tiles / p->heads;
    const uint32_t first = WEIR_BLOCK_X % p->row_tiles * WEIR_CUDA_ATTENTION_ROWS;
    const uint32_t rows = p->rows - first < WEIR_CUDA_ATTENTION_ROWS ? p->rows - first
                                                                     : WEIR_CUDA_ATTENTION_ROWS;
    const uint32_t lane = WEIR_THREAD % 32, warp = WEIR_THREAD / 32;
    const WEIR_STORED *q = (const WEIR_STORED *)p->q + p->q_at.first + batch * p->q_at.batch +
                           head * p->q_at.head + first * p->q_at.row;
    const WEIR_STORED *k = (const WEIR_STORED *)p->k + p->k_at.first + batch * p->k_at.batch +
                           head * p->k_at.head;
    const WEIR_STORED *v = (const WEIR_STORED *)p->v + p->v_at.first + batch * p->v_at.batch +
                           head * p->v_at.head;
    const WEIR_STORED *mask = (const WEIR_STORED *)p->mask;
    WEIR_STORED *y = (WEIR_STORED *)p->y + p->y_at.first + batch * p->y_at.batch +
                     head * p->y_at.head + first * p->y_at.row;
    const uint64_t mask_first =
        batch * p->mask_batch + head * p->mask_head + first * p->mask_row;
    float sums[WEIR_ATTENTION_EACH][WEIR_ATTENTION_PARTS];
    float greatest[WEIR_ATTENTION_EACH], total[WEIR_ATTENTION_EACH];
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++) {
        greatest[j] = WEIR_NEGATIVE_INFINITY;
        total[j] = 0.0f;
        WEIR_UNROLL
        for (uint32_t part = 0; part < WEIR_ATTENTION_PARTS; part++)
            sums[j][part] = 0.0f;
    }
    WEIR_LOCAL(attention_load)
    (q, p->q_at.row, p->q_at.depth, rows, p->depth, &shared->q[0][0],
        WEIR_CUDA_ATTENTION_DEPTH_MAX);
    for (uint32_t t = 0; t < p->columns; t += WEIR_ATTENTION_COLUMNS) {
        const uint32_t columns = p->columns - t < WEIR_ATTENTION_COLUMNS ? p->columns - t
                                                                         : WEIR_ATTENTION_COLUMNS;
        float scores[WEIR_ATTENTION_EACH];
        WEIR_LOCAL(attention_load)
        (k + t * p->k_at.row, p->k_at.row, p->k_at.depth, columns, p->depth, &shared->kv[0][0],
            WEIR_CUDA_ATTENTION_DEPTH_MAX + 1);
        WEIR_SYNC();
        WEIR_UNROLL
        for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++)
            scores[j] = 0.0f;
        if (lane < columns)
            WEIR_UNROLL_4
            for (uint32_t d = 0; d < p->depth; d++) {
                const float key = shared->kv[lane][d];
                WEIR_UNROLL
                for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++) // rows past the last, too
                    scores[j] += shared->q[warp + j * WEIR_ATTENTION_WARPS][d] * key;
            }
        WEIR_UNROLL
        for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++) {
            const uint32_t row = warp + j * WEIR_ATTENTION_WARPS;
            float score = WEIR_NEGATIVE_INFINITY;
            if (lane < columns && row < rows) {
                score = scores[j] * p->scale;
                if (mask)
                    score += WEIR_GET(
                        mask, mask_first + row * p->mask_row + (t + lane) * p->mask_column);
            }
            const float higher = fmaxf(greatest[j], weir_warp_max(score));
            // While all were -inf there is nothing to weigh: exp(-inf + inf) would be NaN.
            const int is_open = higher > WEIR_NEGATIVE_INFINITY;
            const float shrink = is_open ? expf(greatest[j] - higher) : 1.0f;
            const float weight = is_open || score != score ? expf(score - higher) : 0.0f;
            greatest[j] = higher;
            total[j] = total[j] * shrink + weir_warp_sum(lane < columns ? weight : 0.0f);
            WEIR_UNROLL
            for (uint32_t part = 0; part < WEIR_ATTENTION_PARTS; part++)
                sums[j][part] *= shrink;
            shared->weights[row][lane] = weight;
        }
        WEIR_SYNC();
        WEIR_LOCAL(attention_load)
        (v + t * p->v_at.row, p->v_at.row, p->v_at.depth, columns, p->value_depth,
            &shared->kv[0][0], WEIR_CUDA_ATTENTION_DEPTH_MAX + 1);
        WEIR_SYNC();
        WEIR_UNROLL_4
        for (uint32_t c = 0; c < columns; c++) {
            WEIR_UNROLL
            for (uint32_t part = 0; part < WEIR_ATTENTION_PARTS; part++) {
                const float value =
                    lane + part * 32 < p->value_depth ? shared->kv[c][lane + part * 32] : 0.0f;
                WEIR_UNROLL
                for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++)
                    sums[j][part] +=
                        shared->weights[warp + j * WEIR_ATTENTION_WARPS][c] * value;
            }
        }
        WEIR_SYNC();
    }
    // Of no key at all the sum is 0.
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_ATTENTION_EACH; j++) {
        const uint32_t row = warp + j * WEIR_ATTENTION_WARPS;
        WEIR_UNROLL
        for (uint32_t part = 0; part < WEIR_ATTENTION_PARTS; part++) {
            const uint32_t d = lane + part * 32;
            if (row < rows && d < p->value_depth)
                WEIR_PUT(y, row * p->y_at.row + d * p->y_at.depth,
                    p->columns ? sums[j][part] / total[j] : 0.0f);
        }
    }
}
