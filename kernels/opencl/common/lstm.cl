// LSTM in f32 with the default activations: one work-group is one row of the batch in one direction,
// all its steps. Either family: the cpu family's group is one work-item, which nobody has to wait
// for.
//
// gates = bias of W + bias of R + W x + R h, in the order i, o, f, c. h, c and the gates lie in the
// scratch, 6 * hidden floats a group. The cpu family adds 16 products at a time, the gpu family one
// after the other. HAS_BIAS, HAS_H, HAS_C: what is given; WANTS_Y, WANTS_H, WANTS_C: what is wanted.
//
// groups: [batch, directions, 1]

#ifdef WEIR_FAMILY_GPU
#define MEET barrier(CLK_GLOBAL_MEM_FENCE);
#else
#define MEET
#endif

static inline float weir_dot(__global const float *a, __global const float *b, long count)
{
    float sum = 0.0f;
    long i = 0;
#ifndef WEIR_FAMILY_GPU
    float16 many = (float16)(0.0f);
    for (; i + 16 <= count; i += 16)
        many = fma(vload16(0, a + i), vload16(0, b + i), many);
    const float8 eight = many.lo + many.hi;
    const float4 four = eight.lo + eight.hi;
    const float2 two = four.lo + four.hi;
    sum = two.x + two.y;
#endif
    for (; i < count; i++)
        sum = fma(a[i], b[i], sum);
    return sum;
}

static inline float weir_sigmoid(float x)
{
    return 1.0f / (1.0f + exp(-x));
}

WEIR_KERNEL(weir_lstm)
(WEIR_GO, WEIR_INPUT(float, inputs), WEIR_INPUT(float, weights), WEIR_INPUT(float, recurrent),
    WEIR_INPUT(float, biases), WEIR_INPUT(float, first_h), WEIR_INPUT(float, first_c),
    WEIR_TENSOR(float, all_h), WEIR_TENSOR(float, last_h), WEIR_TENSOR(float, last_c),
    WEIR_TENSOR(float, scratch), long length, long input, long hidden, int is_reverse)
{
    WEIR_CONST_POINTER(float, inputs);
    WEIR_CONST_POINTER(float, weights);
    WEIR_CONST_POINTER(float, recurrent);
    WEIR_POINTER(float, scratch);
    const int item = (int)get_local_id(0);
    const long row = (long)get_group_id(0), batch = (long)get_num_groups(0);
    const long direction = (long)get_group_id(1), directions = (long)get_num_groups(1);
    const long steps = weir_go ? length : 0, used = weir_go ? hidden : 0;
    const long number = direction * batch + row;
    __global float *h = scratch + number * 6 * hidden;
    __global float *c = h + hidden, *gates = c + hidden;
    __global const float *w = weights + direction * 4 * hidden * input;
    __global const float *r = recurrent + direction * 4 * hidden * hidden;
#ifdef HAS_BIAS
    WEIR_CONST_POINTER(float, biases);
    __global const float *bias = biases + direction * 8 * hidden;
#endif
#ifdef HAS_H
    WEIR_CONST_POINTER(float, first_h);
#endif
#ifdef HAS_C
    WEIR_CONST_POINTER(float, first_c);
#endif
#ifdef WANTS_Y
    WEIR_POINTER(float, all_h);
#endif
#ifdef WANTS_H
    WEIR_POINTER(float, last_h);
#endif
#ifdef WANTS_C
    WEIR_POINTER(float, last_c);
#endif
    for (long j = item; j < used; j += WEIR_LX) {
        h[j] = c[j] = 0.0f;
#ifdef HAS_H
        h[j] = first_h[number * hidden + j];
#endif
#ifdef HAS_C
        c[j] = first_c[number * hidden + j];
#endif
    }
    MEET
    for (long step = 0; step < steps; step++) {
        const long time = is_reverse || direction ? length - 1 - step : step;
        __global const float *x = inputs + (time * batch + row) * input;
        for (long g = item; g < 4 * hidden; g += WEIR_LX) {
            float sum = 0.0f;
#ifdef HAS_BIAS
            sum = bias[g] + bias[4 * hidden + g];
#endif
            gates[g] = sum + weir_dot(w + g * input, x, input) + weir_dot(r + g * hidden, h, hidden);
        }
        MEET
        for (long j = item; j < hidden; j += WEIR_LX) {
            const float in = weir_sigmoid(gates[j]), out = weir_sigmoid(gates[hidden + j]);
            const float forget = weir_sigmoid(gates[2 * hidden + j]);
            c[j] = forget * c[j] + in * tanh(gates[3 * hidden + j]);
            h[j] = out * tanh(c[j]);
#ifdef WANTS_Y
            all_h[((time * directions + direction) * batch + row) * hidden + j] = h[j];
#endif
        }
        MEET
    }
    for (long j = item; j < used; j += WEIR_LX) {
#ifdef WANTS_H
        last_h[number * hidden + j] = h[j];
#endif
#ifdef WANTS_C
        last_c[number * hidden + j] = c[j];
#endif
    }
}
