// Pointwise and Resize to whole multiples by the nearest element, over images in blocks of 16
// channels, for CPUs: one work-item computes a run of pixels (POINTWISE: PIXELS of them) or a row
// (RESIZE) of one block. FINISH16 is the expression: backends/opencl/op_finish.c prints it.
//
// FILL: the channels in the last block; what fills it up is 0.
// global size: [runs or rows, blocks, images]

#ifdef RESIZE
WEIR_KERNEL(weir_blocks_resize)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, results), long height, long width,
    long times_y, long times_x)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    const long row = (long)get_global_id(0);
    const long plane = (long)get_global_id(2) * (long)get_global_size(1) + (long)get_global_id(1);
    __global const float *x = images + (plane * height + row / times_y) * width * 16;
    __global float *y = results + (plane * height * times_y + row) * width * times_x * 16;
    for (long i = 0; i < width; i++) {
        const float16 v = vload16(i, x);
        for (long j = 0; j < times_x; j++, y += 16)
            vstore16(v, 0, y);
    }
}
#else
WEIR_KERNEL(weir_blocks_pointwise)(WEIR_GO, WEIR_TENSOR(float, results), long pixels FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_POINTER(float, results);
    FINISH_POINTERS
    const long first = (long)get_global_id(0) * PIXELS;
    const long block = (long)get_global_id(1), blocks = (long)get_global_size(1);
    const long image = (long)get_global_id(2), plane = image * blocks + block;
    // clang-format off
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // clang-format on
    const int16 filled = lane < (int16)(block + 1 == blocks ? FILL : 16);
    for (long i = first; i < min(first + PIXELS, pixels); i++) {
        const size_t at = (size_t)(plane * pixels + i) * 16;
        const float16 result =
            FINISH16((float16)(0.0f), at, (size_t)image, (size_t)(block * 16));
        vstore16(FILL == 16 ? result : select((float16)(0.0f), result, filled), 0, results + at);
    }
}
#endif
