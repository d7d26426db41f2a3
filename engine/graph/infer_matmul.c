// engine/graph/infer_matmul.c: MatMul (numpy's rule) and Gemm.
#include "engine/graph/infer.h"

#include <string.h>

static weir_status_t check_inner(const weir__infer_t *infer, int64_t a, int64_t b)
{
    if (a >= 0 && b >= 0 && a != b)
        return WEIR__BAD("inner dims differ: A %s and B %s", WEIR__TEXT(infer, infer->inputs[0]),
            WEIR__TEXT(infer, infer->inputs[1]));
    return NULL;
}

weir_status_t weir__infer_matmul(weir__infer_t *infer)
{
    const weir__type_t *a = infer->inputs[0], *b = infer->inputs[1];
    weir__type_t *y = &infer->outputs[0];
    if (a->rank == 0 || b->rank == 0)
        return WEIR__BAD("a scalar cannot be multiplied: A %s and B %s", WEIR__TEXT(infer, a),
            WEIR__TEXT(infer, b));
    WEIR_TRY(check_inner(infer, a->dims[a->rank - 1], b->dims[b->rank == 1 ? 0 : b->rank - 2]));
    weir__type_t batch_a = *a, batch_b = *b;
    batch_a.rank = WEIR_MAX(a->rank - 2, 0);
    batch_b.rank = WEIR_MAX(b->rank - 2, 0);
    weir_status_t status = weir__infer_broadcast(infer->graph, &batch_a, &batch_b, y);
    if (status)
        return weir__status_prefix(
            status, "A %s and B %s", WEIR__TEXT(infer, a), WEIR__TEXT(infer, b));
    if (a->rank > 1)
        y->dims[y->rank++] = a->dims[a->rank - 2];
    if (b->rank > 1)
        y->dims[y->rank++] = b->dims[b->rank - 1];
    return NULL;
}

weir_status_t weir__infer_gemm(weir__infer_t *infer)
{
    const weir__type_t *a = infer->inputs[0], *b = infer->inputs[1],
                       *c = weir__infer_input(infer, 2);
    weir__type_t *y = &infer->outputs[0];
    bool transpose_a = weir__node_int(infer->node, "transA", 0) != 0;
    bool transpose_b = weir__node_int(infer->node, "transB", 0) != 0;
    WEIR_TRY(weir__infer_check_rank(infer, 0, "A", 2));
    WEIR_TRY(weir__infer_check_rank(infer, 1, "B", 2));
    WEIR_TRY(check_inner(infer, a->dims[!transpose_a], b->dims[transpose_b]));
    y->rank = 2;
    y->dims[0] = a->dims[transpose_a];
    y->dims[1] = b->dims[!transpose_b];
    for (int32_t i = 0; c && i < c->rank; i++) {
        int64_t size = c->dims[c->rank - 1 - i];
        if (i >= 2 || (size >= 0 && size != 1 && y->dims[1 - i] >= 0 && size != y->dims[1 - i]))
            return WEIR__BAD("C %s does not broadcast to the product %s", WEIR__TEXT(infer, c),
                WEIR__TEXT(infer, y));
    }
    return NULL;
}
