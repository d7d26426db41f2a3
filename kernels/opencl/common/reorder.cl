// kernels/opencl/common/reorder.cl: between row-major [N, C, H, W] and blocks of 16 channels, in f32.
// TO_BLOCKS: 1 there, 0 back.
//
// cpu: a work-item takes `chunk` pieces of a plane of a block; gpu: one element of the blocks.
WEIR_KERNEL(weir_reorder)(WEIR_GO, WEIR_INPUT(float, x), WEIR_TENSOR(float, y), const long channels,
    const long blocks, const long plane, const long piece, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(float, x);
    WEIR_POINTER(float, y);
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
    const long c = element % 16, p = element / 16 % plane, block = element / 16 / plane;
    const long channel = block % blocks * 16 + c;
    const long flat = (block / blocks * channels + channel) * plane + p;
#if TO_BLOCKS
    y[element] = channel < channels ? x[flat] : 0;
#else
    if (channel < channels)
        y[flat] = x[element];
#endif
#else
    const long pieces = (plane + piece - 1) / piece;
    const long last = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long row = (long)get_global_id(0) * chunk; row < last; row++) {
        const long block = row / pieces, first = row % pieces * piece;
        const long end = min(first + piece, plane), from = block % blocks * 16;
        const long there = min(channels - from, 16l);
        const long flat = (block / blocks * channels + from) * plane, blocked = block * plane * 16;
#if TO_BLOCKS
        for (long p = first; p < end; p++)
            for (long c = 0; c < 16; c++)
                y[blocked + p * 16 + c] = c < there ? x[flat + c * plane + p] : 0;
#else
        for (long c = 0; c < there; c++)
            for (long p = first; p < end; p++)
                y[flat + c * plane + p] = x[blocked + p * 16 + c];
#endif
    }
#endif
}
