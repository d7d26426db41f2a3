// Softmax, LogSoftmax, LayerNormalization and means and maxima of rows in f32 for GPUs: a
// work-group of WEIR_LX is one row of `count` elements, `inner` apart.
//
// Row r begins at r / inner * count * inner + r % inner. SOFTMAX, LOG_SOFTMAX, LAYER_NORM, MEAN or
// MAXIMUM says what is done; of a LAYER_NORM, scale and bias have the row's elements, or with
// BY_CHANNEL one element for row r, that of r % channels (InstanceNormalization).
//
// groups: [rows, 1, 1]

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

#if defined(LAYER_NORM)
WEIR_KERNEL(weir_layer_norm)(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, scale),
    WEIR_INPUT(float, bias), WEIR_TENSOR(float, results), WEIR_TENSOR(float, means),
    WEIR_TENSOR(float, deviations), long count, long channels, float epsilon)
{
    __local float shared[WEIR_LX];
    WEIR_CONST_POINTER(float, images);
    WEIR_CONST_POINTER(float, scale);
    WEIR_POINTER(float, results);
#ifdef HAS_BIAS
    WEIR_CONST_POINTER(float, bias);
#endif
    const int item = (int)get_local_id(0);
    const long row = (long)get_group_id(0), used = weir_go ? count : 0;
    __global const float *x = images + row * count;
    __global float *y = results + row * count;
    float mean = 0.0f, square = 0.0f;
    for (long i = item; i < used; i += WEIR_LX)
        mean += x[i];
    WEIR_REDUCE(WEIR_ADD, mean)
    mean /= (float)count;
    for (long i = item; i < used; i += WEIR_LX)
        square = fma(x[i] - mean, x[i] - mean, square);
    WEIR_REDUCE(WEIR_ADD, square)
    const float inverse = 1.0f / sqrt(square / (float)count + epsilon);
    for (long i = item; i < used; i += WEIR_LX) {
#ifdef BY_CHANNEL
        const long at = row % channels;
#else
        const long at = i;
#endif
        float v = (x[i] - mean) * inverse * scale[at];
#ifdef HAS_BIAS
        v += bias[at];
#endif
        y[i] = v;
    }
#ifdef HAS_MEAN
    WEIR_POINTER(float, means);
    if (weir_go && item == 0)
        means[row] = mean;
#endif
#ifdef HAS_DEVIATION
    WEIR_POINTER(float, deviations);
    if (weir_go && item == 0)
        deviations[row] = inverse;
#endif
}
#else
WEIR_KERNEL(weir_softmax)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, results), long count, long inner)
{
    __local float shared[WEIR_LX];
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    const int item = (int)get_local_id(0);
    const long row = (long)get_group_id(0), used = weir_go ? count : 0, step = max(inner, 1L);
    const long first = row / step * count * step + row % step;
    __global const float *x = images + first;
    __global float *y = results + first;
    float sum = 0.0f;
#ifndef MEAN
    float most = -INFINITY;
    for (long i = item; i < used; i += WEIR_LX)
        most = WEIR_MOST(most, x[i * step]);
    WEIR_REDUCE(WEIR_MOST, most)
#endif
#if defined(MAXIMUM)
    if (weir_go && item == 0)
        results[row] = most;
#elif defined(MEAN)
    for (long i = item; i < used; i += WEIR_LX)
        sum += x[i * step];
    WEIR_REDUCE(WEIR_ADD, sum)
    if (weir_go && item == 0)
        results[row] = sum / (float)count;
#else
    for (long i = item; i < used; i += WEIR_LX)
        sum += exp(x[i * step] - most);
    WEIR_REDUCE(WEIR_ADD, sum)
#ifdef LOG_SOFTMAX
    const float shift = log(sum);
    for (long i = item; i < used; i += WEIR_LX)
        y[i * step] = x[i * step] - most - shift;
#else
    for (long i = item; i < used; i += WEIR_LX)
        y[i * step] = exp(x[i * step] - most) / sum;
#endif
#endif
}
#endif
