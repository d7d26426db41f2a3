// engine/graph/ops.c: the table of operators. ops.inc holds the rows; nothing else decides what
// exists.
#include "engine/graph/infer.h"

#include <string.h>

#define E WEIR__OP_ELEMENTWISE
#define C WEIR__OP_COMMUTATIVE
#define V WEIR__OP_VIEW
#define D WEIR__OP_DIMS_ONLY
#define R WEIR__OP_REGIONS

#define FLOATS (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)
#define SIGNED (WEIR_I8 | WEIR_I16 | WEIR_I32 | WEIR_I64)
#define WIDE (WEIR_I32 | WEIR_I64 | WEIR_U32 | WEIR_U64)
#define NUMBERS (FLOATS | SIGNED | WEIR_U8 | WEIR_U16 | WEIR_U32 | WEIR_U64)
#define ALL (NUMBERS | WEIR_BOOL)

static const weir__op_t ops[] = {
#define OP(name_, min_in, max_in, min_out, max_out, flags_, opcode_, values_, rule, dtypes_, same, \
    result_)                                                                                       \
    {.name = #name_,                                                                               \
        .revision = 1,                                                                             \
        .min_inputs = min_in,                                                                      \
        .max_inputs = max_in,                                                                      \
        .min_outputs = min_out,                                                                    \
        .max_outputs = max_out,                                                                    \
        .flags = flags_,                                                                           \
        .opcode = WEIR_OP_##opcode_,                                                               \
        .value_inputs = values_,                                                                   \
        .infer = weir__infer_##rule,                                                               \
        .dtypes = dtypes_,                                                                         \
        .same_dtype = same,                                                                        \
        .result = WEIR__RESULT_##result_},
#include "engine/graph/ops.inc"
#undef OP
};

const weir__op_t *weir__op_table(uint32_t *out_count)
{
    *out_count = sizeof ops / sizeof ops[0];
    return ops;
}

const weir__op_t *weir__op_find(const char *name, uint16_t revision)
{
    for (uint32_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (ops[i].revision == revision && strcmp(ops[i].name, name) == 0)
            return &ops[i];
    return NULL;
}
