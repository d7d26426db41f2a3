// The kernels of low.h as the compiler makes them for plain C. Only the ISA is chosen here.
#include "kernels/cpu/low/low.h"

#define WEIR_LOW(name) name##__plain
#define WEIR_LOW_NAME "plain C"
#include "kernels/cpu/low/low_body.inc"
