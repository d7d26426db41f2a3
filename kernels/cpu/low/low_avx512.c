// The kernels of low.h as the compiler makes them for AVX-512. Only the ISA is chosen here.
#include "kernels/cpu/low/low.h"

#define WEIR_LOW(name) name##__avx512
#define WEIR_LOW_NAME "AVX-512"
#include "kernels/cpu/low/low_body.inc"
