// Elementwise and row kernels and the kernel table for AVX2. Only the ISA is chosen here.
#include "kernels/cpu/simd/avx2.h"

#define WEIR_ISA_NAME "AVX2"
#include "kernels/cpu/isa/isa_body.inc"
