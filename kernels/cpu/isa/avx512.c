// Elementwise and row kernels and the kernel table for AVX-512. Only the ISA is chosen here.
#include "kernels/cpu/simd/avx512.h"

#define WEIR_ISA_NAME "AVX-512"
#include "kernels/cpu/isa/isa_body.inc"
