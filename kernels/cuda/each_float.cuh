// kernels/cuda/each_float.cuh: includes the file WEIR_EACH once for each type of floating point.
#define T f32
#include WEIR_EACH
#undef T
#define T f16
#include WEIR_EACH
#undef T
#define T bf16
#include WEIR_EACH
#undef T
#undef WEIR_EACH
