// What a convolution of row-major images multiplies its weights by: for each group of each image
// the matrix of [group_inputs * KH * KW] rows and a column for each output pixel, in panels of 32
// columns as matmul.cl takes them. Moves floats, computes none.
//
// global size: [ceil(rows / 16), ceil(out_height * out_width / 32), images * groups]
WEIR_KERNEL(weir_columns)(WEIR_GO, WEIR_INPUT(float, x), WEIR_TENSOR(float, y), long channels,
    long height, long width, long out_height, long out_width, long pad_top, long pad_left)
{
    WEIR_START
    WEIR_CONST_POINTER(float, x);
    WEIR_POINTER(float, y);
    const long panel = (long)get_global_id(1), group = (long)get_global_id(2);
    const long rows = channels * (KH * KW), first = (long)get_global_id(0) * 16;
    for (long k = first; k < min(first + 16, rows); k++) {
        const long kx = k % KW, ky = k / KW % KH, channel = k / (KW * KH);
        __global const float *from = x + (group * channels + channel) * height * width;
        __global float *to = y + ((group * (long)get_global_size(1) + panel) * rows + k) * 32;
        long oy = panel * 32 / out_width, ox = panel * 32 % out_width;
        for (int j = 0; j < 32; j++) {
            const long iy = oy * SY - pad_top + ky * DY, ix = ox * SX - pad_left + kx * DX;
            const int inside = oy < out_height && iy >= 0 && iy < height && ix >= 0 && ix < width;
            to[j] = inside ? from[iy * width + ix] : 0.0f;
            if (++ox == out_width) {
                ox = 0;
                oy++;
            }
        }
    }
}
