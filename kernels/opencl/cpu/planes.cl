// The mean or the greatest of each plane (GlobalAveragePool, GlobalMaxPool) in f32 for CPUs: one
// work-item is one plane of `count` pixels, or with BLOCKED 16 channels of them. NaN is kept.
//
// global size: [planes, 1, 1]; of the last block of `blocks` FILL channels are there.

#ifdef MAXIMUM
#define START -INFINITY
#define WEIR_STEP(s, v) select(s, v, isgreater(v, s) | isnan(v))
#else
#define START 0.0f
#define WEIR_STEP(s, v) ((s) + (v))
#endif

WEIR_KERNEL(weir_planes)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, results), long count, long blocks)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    const long plane = (long)get_global_id(0);
    float16 lanes[4] = {(float16)(START), (float16)(START), (float16)(START), (float16)(START)};
#ifdef BLOCKED
    __global const float *x = images + plane * count * 16;
    long i = 0;
    for (; i + 4 <= count; i += 4)
        for (int j = 0; j < 4; j++)
            lanes[j] = WEIR_STEP(lanes[j], vload16(i + j, x));
    for (; i < count; i++)
        lanes[0] = WEIR_STEP(lanes[0], vload16(i, x));
    float16 all = WEIR_STEP(WEIR_STEP(lanes[0], lanes[1]), WEIR_STEP(lanes[2], lanes[3]));
#ifndef MAXIMUM
    all /= (float)count;
#endif
    // clang-format off
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // clang-format on
    const int16 filled = lane < (int16)((plane + 1) % blocks == 0 ? FILL : 16);
    vstore16(select((float16)(0.0f), all, filled), plane, results);
#else
    __global const float *x = images + plane * count;
    const long vectors = count / 16;
    long i = 0;
    for (; i + 4 <= vectors; i += 4)
        for (int j = 0; j < 4; j++)
            lanes[j] = WEIR_STEP(lanes[j], vload16(i + j, x));
    for (; i < vectors; i++)
        lanes[0] = WEIR_STEP(lanes[0], vload16(i, x));
    float rest[16];
    vstore16(
        WEIR_STEP(WEIR_STEP(lanes[0], lanes[1]), WEIR_STEP(lanes[2], lanes[3])), 0, rest);
    float all = rest[0];
    for (int j = 1; j < 16; j++)
        all = WEIR_STEP(all, rest[j]);
    for (i = vectors * 16; i < count; i++)
        all = WEIR_STEP(all, x[i]);
#ifndef MAXIMUM
    all /= (float)count;
#endif
    results[plane] = all;
#endif
}
