// backends/chaos/claim.c: the device that says itself what it can run (option claim=1).
//
// It asks the wrapped plugin's kernels with the node as it is: unfused and row-major. Pure: faults
// apart, the same graph gets the same answer.
#include "backends/chaos/chaos.h"

#include <stdio.h>

weir_code_t weir_chaos_claim(weir_handle_t handle, const weir_slice_t *graph, weir_claim_t *claims)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_CLAIM);
    for (uint32_t i = 0; i < graph->node_count && code == WEIR_OK; i++) {
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        uint32_t number = weir_chaos_kernel_for(device->state, &graph->nodes[i].node, &answer);
        claims[i].claimed = number != WEIR_CHAOS_NONE;
        claims[i].cost_ns = claims[i].claimed ? answer.cost_ns : 0;
        if (!claims[i].claimed)
            snprintf(claims[i].reason, sizeof claims[i].reason, "%s", answer.reason);
    }
    return code;
}
