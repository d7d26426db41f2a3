// backends/opencl/op_host.h: supports(), build() and plan() of the pointwise and movement
// operators, as rows_host.inc names them.
#ifndef WEIR_BACKENDS_OPENCL_OP_HOST_H
#define WEIR_BACKENDS_OPENCL_OP_HOST_H

#include "backends/opencl/recipe.h"

#endif
