// backends/chaos/slice.c: what a program is bound to, as a number.
//
// compile() may rely on operators, types, ranks, formats and the constants' sizes, not on dims:
// those are what specialize() brings. The digest tells a program of another slice.
#include "backends/chaos/chaos.h"

#include <string.h>

// FNV-1a, 64 bit.
uint64_t weir_chaos_digest(uint64_t seed, const void *data, uint64_t bytes)
{
    const uint8_t *at = data;
    uint64_t digest = seed ^ 0xcbf29ce484222325ull;
    for (uint64_t i = 0; i < bytes; i++)
        digest = (digest ^ at[i]) * 0x100000001b3ull;
    return digest;
}

static uint64_t add_number(uint64_t digest, uint64_t number)
{
    return weir_chaos_digest(digest, &number, sizeof number);
}

static uint64_t add_text(uint64_t digest, const char *text)
{
    return text ? weir_chaos_digest(digest, text, strlen(text) + 1) : add_number(digest, 0);
}

uint64_t weir_chaos_slice_digest(const weir_slice_t *slice)
{
    uint64_t digest = add_number(0, slice->node_count);
    digest = add_number(digest, slice->tensor_count);
    for (uint32_t i = 0; i < slice->tensor_count; i++) {
        const weir_tensor_t *tensor = &slice->tensors[i];
        digest = add_number(digest, tensor->dtype);
        digest = add_number(digest, tensor->format);
        digest = add_number(digest, tensor->flags & WEIR_TENSOR_CONSTANT);
        if (tensor->flags & WEIR_TENSOR_CONSTANT)
            digest = add_number(digest, tensor->bytes);
    }
    for (uint32_t i = 0; i < slice->node_count; i++) {
        const weir_slice_node_t *node = &slice->nodes[i];
        digest = add_text(digest, node->node.op);
        digest = add_text(digest, node->kernel ? node->kernel->name : NULL);
        digest = add_number(digest, node->node.revision);
        for (uint32_t j = 0; j < node->node.input_count; j++)
            digest = add_number(digest, node->inputs[j]);
        for (uint32_t j = 0; j < node->node.output_count; j++)
            digest = add_number(digest, node->outputs[j]);
    }
    return digest;
}
