// Elementwise and row kernels and the kernel table for plain C. Only the ISA is chosen here.
#include "kernels/cpu/simd/plain.h"

#define WEIR_ISA_NAME "plain C"
#include "kernels/cpu/isa/isa_body.inc"
