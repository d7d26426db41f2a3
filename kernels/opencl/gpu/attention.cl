// softmax(scale Q K^T + mask) V in f32 for GPUs: a work-group of WEIR_LX is one row of one head of
// one batch; its weights lie in the scratch, `terms` floats for each work-group.
//
// All tensors as they lie: steps in elements for batch, head, row and element.
//
// groups: [rows, heads, batches]

#define WEIR_ADD(a, b) ((a) + (b))
#define WEIR_MOST(a, b) ((b) > (a) || (b) != (b) ? (b) : (a))

// The same value in all work-items. WEIR_LX is a power of two; every work-item comes here.
#define WEIR_REDUCE(combine, value)                                                                \
    shared[item] = (value);                                                                        \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
    for (int half_count = WEIR_LX / 2; half_count > 0; half_count /= 2) {                          \
        if (item < half_count)                                                                     \
            shared[item] = combine(shared[item], shared[item + half_count]);                       \
        barrier(CLK_LOCAL_MEM_FENCE);                                                              \
    }                                                                                              \
    value = shared[0];                                                                             \
    barrier(CLK_LOCAL_MEM_FENCE);

WEIR_KERNEL(weir_attention)
(WEIR_GO, WEIR_INPUT(float, queries), WEIR_INPUT(float, keys), WEIR_INPUT(float, values),
    WEIR_INPUT(float, masks), WEIR_TENSOR(float, results), WEIR_TENSOR(float, scratch), long terms,
    long depth, long width, float scale, long q_first, long q_b, long q_h, long q_s, long q_d,
    long k_first, long k_b, long k_h, long k_s, long k_d, long v_first, long v_b, long v_h,
    long v_s, long v_d, long y_b, long y_h, long y_s, long m_b, long m_h, long m_s, long m_t)
{
    __local float shared[WEIR_LX];
    WEIR_CONST_POINTER(float, queries);
    WEIR_CONST_POINTER(float, keys);
    WEIR_CONST_POINTER(float, values);
    WEIR_POINTER(float, results);
    WEIR_POINTER(float, scratch);
    const int item = (int)get_local_id(0);
    const long row = (long)get_group_id(0), head = (long)get_group_id(1);
    const long batch = (long)get_group_id(2), used = weir_go ? terms : 0;
    const long number =
        (batch * (long)get_num_groups(1) + head) * (long)get_num_groups(0) + row;
    __global const float *q = queries + q_first + batch * q_b + head * q_h + row * q_s;
    __global const float *k = keys + k_first + batch * k_b + head * k_h;
    __global const float *v = values + v_first + batch * v_b + head * v_h;
    __global float *w = scratch + number * terms;
    __global float *y = results + batch * y_b + head * y_h + row * y_s;
#ifdef HAS_MASK
    WEIR_CONST_POINTER(float, masks);
    __global const float *mask = masks + batch * m_b + head * m_h + row * m_s;
#endif
    float most = -INFINITY, sum = 0.0f;
    for (long t = item; t < used; t += WEIR_LX) {
        float score = 0.0f;
        for (long d = 0; d < depth; d++)
            score = fma(q[d * q_d], k[t * k_s + d * k_d], score);
        score *= scale;
#ifdef HAS_MASK
        score += mask[t * m_t];
#endif
        w[t] = score;
        most = WEIR_MOST(most, score);
    }
    WEIR_REDUCE(WEIR_MOST, most)
    for (long t = item; t < used; t += WEIR_LX) {
        const float weight = exp(w[t] - most);
        w[t] = weight;
        sum += weight;
    }
    WEIR_REDUCE(WEIR_ADD, sum)
    barrier(CLK_GLOBAL_MEM_FENCE);
    for (long d = item; weir_go && d < width; d += WEIR_LX) {
        float total = 0.0f;
        for (long t = 0; t < used; t++)
            total = fma(w[t], v[t * v_s + d * v_d], total);
        y[d] = used ? total / sum : 0.0f;
    }
}
