// Softmax, LogSoftmax and LayerNormalization in f32 for CPUs: one work-item is one row of `count`
// elements, `inner` apart. Sums are taken in 16 lanes.
//
// Row r begins at r / inner * count * inner + r % inner. SOFTMAX, LOG_SOFTMAX or LAYER_NORM says
// what is done; of the last, scale and bias have the row's elements, or with BY_CHANNEL one element
// for row r, that of r % channels (InstanceNormalization).
//
// global size: [rows, 1, 1]

static inline float weir_sum16(float16 v)
{
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static inline float weir_max16(float16 v)
{
    const float8 a = fmax(v.lo, v.hi);
    const float4 b = fmax(a.lo, a.hi);
    const float2 c = fmax(b.lo, b.hi);
    return fmax(c.x, c.y);
}

#ifdef LAYER_NORM
WEIR_KERNEL(weir_layer_norm)(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, scale),
    WEIR_INPUT(float, bias), WEIR_TENSOR(float, results), WEIR_TENSOR(float, means),
    WEIR_TENSOR(float, deviations), long count, long channels, float epsilon)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_CONST_POINTER(float, scale);
    WEIR_POINTER(float, results);
    const long row = (long)get_global_id(0);
    __global const float *x = images + row * count;
    __global float *y = results + row * count;
    float16 sums = (float16)(0.0f);
    long i = 0;
    for (; i + 16 <= count; i += 16)
        sums += vload16(0, x + i);
    float sum = weir_sum16(sums);
    for (; i < count; i++)
        sum += x[i];
    const float mean = sum / (float)count;
    sums = (float16)(0.0f);
    for (i = 0; i + 16 <= count; i += 16) {
        const float16 v = vload16(0, x + i) - mean;
        sums = fma(v, v, sums);
    }
    sum = weir_sum16(sums);
    for (; i < count; i++)
        sum = fma(x[i] - mean, x[i] - mean, sum);
    const float inverse = 1.0f / sqrt(sum / (float)count + epsilon);
#ifdef HAS_BIAS
    WEIR_CONST_POINTER(float, bias);
#endif
#ifdef BY_CHANNEL
    const long channel = row % channels;
    const float factor = inverse * scale[channel];
#ifdef HAS_BIAS
    const float shift = bias[channel];
#else
    const float shift = 0.0f;
#endif
    for (i = 0; i + 16 <= count; i += 16)
        vstore16((vload16(0, x + i) - mean) * factor + shift, 0, y + i);
    for (; i < count; i++)
        y[i] = (x[i] - mean) * factor + shift;
#else
    for (i = 0; i + 16 <= count; i += 16) {
        float16 v = (vload16(0, x + i) - mean) * inverse * vload16(0, scale + i);
#ifdef HAS_BIAS
        v += vload16(0, bias + i);
#endif
        vstore16(v, 0, y + i);
    }
    for (; i < count; i++) {
        float v = (x[i] - mean) * inverse * scale[i];
#ifdef HAS_BIAS
        v += bias[i];
#endif
        y[i] = v;
    }
#endif
#ifdef HAS_MEAN
    WEIR_POINTER(float, means);
    means[row] = mean;
#endif
#ifdef HAS_DEVIATION
    WEIR_POINTER(float, deviations);
    deviations[row] = inverse;
#endif
}
#else
WEIR_KERNEL(weir_softmax)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, results), long count, long inner)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    const long row = (long)get_global_id(0);
    const long first = row / inner * count * inner + row % inner;
    __global const float *x = images + first;
    __global float *y = results + first;
    const long vectors = inner == 1 ? count / 16 * 16 : 0;
    float16 most16 = (float16)(-INFINITY), sums = (float16)(0.0f);
    for (long i = 0; i < vectors; i += 16)
        most16 = fmax(most16, vload16(0, x + i));
    float most = weir_max16(most16);
    for (long i = vectors; i < count; i++)
        most = fmax(most, x[i * inner]);
    for (long i = 0; i < vectors; i += 16) {
        const float16 v = exp(vload16(0, x + i) - most);
        sums += v;
#ifndef LOG_SOFTMAX
        vstore16(v, 0, y + i);
#endif
    }
    float sum = weir_sum16(sums);
    for (long i = vectors; i < count; i++) {
        const float v = exp(x[i * inner] - most);
        sum += v;
#ifndef LOG_SOFTMAX
        y[i * inner] = v;
#endif
    }
#ifdef LOG_SOFTMAX
    const float shift = log(sum);
    for (long i = 0; i < vectors; i += 16)
        vstore16(vload16(0, x + i) - most - shift, 0, y + i);
    for (long i = vectors; i < count; i++)
        y[i * inner] = x[i * inner] - most - shift;
#else
    for (long i = 0; i < vectors; i += 16)
        vstore16(vload16(0, y + i) / sum, 0, y + i);
    for (long i = vectors; i < count; i++)
        y[i * inner] /= sum;
#endif
}
#endif
