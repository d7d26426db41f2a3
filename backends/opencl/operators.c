// backends/opencl/operators.c: the two tables. The rows are in the .inc files; what they name is
// declared in operators.h and op_kernels.h.
#include "backends/opencl/operators.h"

#include "backends/opencl/op_host.h"
#include "backends/opencl/op_kernels.h"

static const weir_cl_operator_t cpu_rows[] = {
#include "backends/opencl/rows_kernels_cpu.inc"

#include "backends/opencl/rows_host.inc"
};
static const weir_cl_operator_t gpu_rows[] = {
#include "backends/opencl/rows_kernels_gpu.inc"

#include "backends/opencl/rows_host.inc"
};

const weir_cl_operator_t *weir_cl_operators(weir_cl_family_t family, uint32_t *out_count)
{
    bool is_gpu = family == WEIR_CL_FAMILY_GPU;
    *out_count = (uint32_t)(is_gpu ? sizeof gpu_rows / sizeof gpu_rows[0]
                                   : sizeof cpu_rows / sizeof cpu_rows[0]);
    return is_gpu ? gpu_rows : cpu_rows;
}
