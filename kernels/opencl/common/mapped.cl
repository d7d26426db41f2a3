// kernels/opencl/common/mapped.cl: y[i0, i1, …] = x[map0[i0] + map1[i1] + …], or a fill where a map
// says -1: Tile, Pad, Resize to the nearest. And what makes the maps.
//
// One map for each group of axes, one behind the other in scratch. KIND: 1 Tile, 2 Pad, 3 nearest; 4:
// linear, which has kernels of its own.
// T: an unsigned type as large as an element.
#if KIND >= 3
#ifdef cl_khr_fp64
typedef double real;
#define weir_scale(bits, scale) as_double(bits)
#else
typedef float real;
#define weir_scale(bits, scale) (scale)
#endif

// Where output coordinate o lies in the input: see Resize of ONNX.
static inline real weir_source(int coordinates, long o, real scale, long in, long out)
{
    const real length = scale * (real)in, at = (real)o;
    switch (coordinates) {
    case 1:
        return length == 1 ? 0 : at * (real)(in - 1) / (length - 1);
    case 2:
        return at / scale;
    case 3:
        return length > 1 ? (at + (real)0.5) / scale - (real)0.5 : 0;
    case 4:
        return (real)in / 2 * (1 - (real)out / length) + (at + (real)0.5) / scale - (real)0.5;
    default:
        return (at + (real)0.5) / scale - (real)0.5;
    }
}

static inline long weir_nearest(int mode, real x, long in)
{
    const real at = mode == 1   ? floor(x)
                    : mode == 2 ? ceil(x)
                    : mode == 3 ? floor(x + (real)0.5)
                                : ceil(x - (real)0.5);
    return !(at > 0) ? 0 : at >= (real)in ? in - 1 : (long)at;
}
#endif

#if KIND <= 3
// out[i] for i below n. Tile: i % in. Pad: a shift, b cut, mode 0 constant, 1 edge, 2 wrap, 3
// reflect; `in` is what the cuts leave. Nearest: mode is coordinates * 8 + rounding, a the bits of
// the scale as a double, b: the axis stays as it is.
WEIR_KERNEL(weir_map)(WEIR_GO, WEIR_TENSOR(long, out), const long n, const long in,
    const long stride, const int mode, const long a, const long b, const float scale)
{
    WEIR_START
    WEIR_POINTER(long, out);
#ifdef WEIR_FAMILY_GPU
    const long first = (long)get_global_id(0), end = min(first + 1, n);
#else
    const long first = 0, end = n;
#endif
    for (long i = first; i < end; i++) {
#if KIND == 1
        out[i] = i % in * stride;
#elif KIND == 2
        long at = i - a;
        if (at < 0 || at >= in) {
            const long period = mode == 2 ? in : max(2 * (in - 1), 1l);
            if (mode == 0 || in == 0)
                at = -1;
            else if (mode == 1)
                at = at < 0 ? 0 : in - 1;
            else {
                at %= period;
                at += at < 0 ? period : 0;
                at = at < in ? at : period - at;
            }
        }
        out[i] = at < 0 ? -1 : (at + b) * stride;
#else
        const real at = weir_source(mode / 8, i, weir_scale(a, scale), in, n);
        out[i] = (b ? i : weir_nearest(mode % 8, at, in)) * stride;
#endif
    }
}

// Five maps, the last is the innermost. cpu: a work-item makes `chunk` runs of it; gpu: one
// element.
WEIR_KERNEL(weir_mapped)(WEIR_GO, WEIR_INPUT(T, x), WEIR_INPUT(T, fill), WEIR_TENSOR(T, y),
    WEIR_INPUT(long, map), const long n0, const long n1, const long n2, const long n3,
    const long n4, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(T, x);
    WEIR_CONST_POINTER(T, fill);
    WEIR_POINTER(T, y);
    WEIR_CONST_POINTER(long, map);
    __global const long *const map1 = map + n0, *const map2 = map1 + n1, *const map3 = map2 + n2,
                               *const map4 = map3 + n3;
    const T filling = fill_base ? *fill : 0;
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
    const long row = element / n4, first = element % n4, end = first + 1;
#else
    const long first = 0, end = n4, last = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long row = (long)get_global_id(0) * chunk; row < last; row++)
#endif
    {
        const long i3 = row % n3, r3 = row / n3, i2 = r3 % n2, r2 = r3 / n2, i1 = r2 % n1;
        const long m0 = map[r2 / n1], m1 = map1[i1], m2 = map2[i2], m3 = map3[i3];
        const int is_fill = m0 < 0 || m1 < 0 || m2 < 0 || m3 < 0;
        for (long i = first; i < end; i++) {
            const long m4 = map4[i];
            y[row * n4 + i] = is_fill || m4 < 0 ? filling : x[m0 + m1 + m2 + m3 + m4];
        }
    }
}
#else
// low, high (as far as they are inside) and the weight of high, for each output coordinate.
WEIR_KERNEL(weir_map_linear)(WEIR_GO, WEIR_TENSOR(int, low), WEIR_TENSOR(int, high),
    WEIR_TENSOR(float, weight), const long n, const long in, const int mode, const long bits,
    const float scale, const int stays)
{
    WEIR_START
    WEIR_POINTER(int, low);
    WEIR_POINTER(int, high);
    WEIR_POINTER(float, weight);
#ifdef WEIR_FAMILY_GPU
    const long first = (long)get_global_id(0), end = min(first + 1, n);
#else
    const long first = 0, end = n;
#endif
    for (long o = first; o < end; o++) {
        const real at = stays ? (real)o : weir_source(mode / 8, o, weir_scale(bits, scale), in, n);
        const real down = floor(at), top = (real)(in - 1);
        low[o] = (int)clamp(down, (real)0, top);
        high[o] = (int)clamp(down + 1, (real)0, top);
        weight[o] = (float)(at - down);
    }
}

// The last two axes; cpu: a work-item makes `chunk` rows; gpu: one element.
WEIR_KERNEL(weir_linear)(WEIR_GO, WEIR_INPUT(float, x), WEIR_TENSOR(float, y), WEIR_INPUT(int, lows),
    WEIR_INPUT(int, highs), WEIR_INPUT(float, weights), const long out_y, const long out_x,
    const long in_y, const long in_x, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(float, x);
    WEIR_POINTER(float, y);
    WEIR_CONST_POINTER(int, lows);
    WEIR_CONST_POINTER(int, highs);
    WEIR_CONST_POINTER(float, weights);
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
    const long row = element / out_x, first = element % out_x, end = first + 1;
#else
    const long first = 0, end = out_x, last = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long row = (long)get_global_id(0) * chunk; row < last; row++)
#endif
    {
        const long plane = row / out_y, line = row % out_y;
        __global const float *const upper = x + (plane * in_y + lows[line]) * in_x;
        __global const float *const lower = x + (plane * in_y + highs[line]) * in_x;
        const float down = weights[line], up = 1 - down;
        for (long i = first; i < end; i++) {
            const int l = lows[out_y + i], h = highs[out_y + i];
            const float right = weights[out_y + i], left = 1 - right;
            const float above = left == 1 ? upper[l] : upper[l] * left + upper[h] * right;
            const float below = left == 1 ? lower[l] : lower[l] * left + lower[h] * right;
            y[row * out_x + i] = up == 1 ? above : above * up + below * down;
        }
    }
}
#endif
