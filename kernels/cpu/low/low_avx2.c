// The kernels of low.h as the compiler makes them for AVX2. Only the ISA is chosen here.
#include "kernels/cpu/low/low.h"

#define WEIR_LOW(name) name##__avx2
#define WEIR_LOW_NAME "AVX2"
#include "kernels/cpu/low/low_body.inc"
