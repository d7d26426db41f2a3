// backends/chaos/edge.c: between the devices of this plugin.
//
// Option `edge` says how near they are: native (a buffer of the peer is bound as it is), import (as
// a buffer of one's own that stands for it) or staged (through the host). An export names device
// and buffer, with a digest, so that a forged one is refused.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>

static const char agreement[] = "chaos";

weir_code_t weir_chaos_edge(weir_handle_t handle, weir_handle_t peer, weir_edge_t *out_edge)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_EDGE);
    if (code != WEIR_OK)
        return code;
    out_edge->kind = peer ? device->state->edge_kind : WEIR_EDGE_STAGED;
    out_edge->bytes_per_us = 4000;
    out_edge->latency_ns = 5000 + device->state->delay_us * 1000ull;
    return WEIR_OK;
}

static uint64_t digest_of(const weir_export_t *exported)
{
    uint64_t words[3] = {exported->data[0], exported->data[1], exported->bytes};
    return weir_chaos_digest(2, words, sizeof words);
}

weir_code_t weir_chaos_export_buffer(
    weir_handle_t handle, weir_handle_t buffer, weir_export_t *out_export)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    weir_code_t code = weir_chaos_enter(state, device, WEIR_CHAOS_EXPORT_BUFFER);
    if (code != WEIR_OK)
        return code;
    uint64_t bytes = weir_chaos_memory_bytes(device, buffer);
    if (state->edge_kind == WEIR_EDGE_STAGED || !bytes)
        return state->host->fail(state->host, WEIR_UNSUPPORTED, "this buffer is not exported");
    snprintf(out_export->kind, sizeof out_export->kind, "%s", agreement);
    out_export->bytes = bytes;
    out_export->data[0] = device->slot;
    out_export->data[1] = buffer;
    out_export->data[2] = digest_of(out_export);
    return WEIR_OK;
}

weir_code_t weir_chaos_import_buffer(
    weir_handle_t handle, const weir_export_t *exported, weir_handle_t *out_buffer)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    weir_code_t code = weir_chaos_enter(state, device, WEIR_CHAOS_IMPORT_BUFFER);
    if (code != WEIR_OK)
        return code;
    if (state->edge_kind == WEIR_EDGE_STAGED ||
        strncmp(exported->kind, agreement, sizeof exported->kind) != 0 ||
        exported->data[2] != digest_of(exported))
        return state->host->fail(
            state->host, WEIR_UNSUPPORTED, "no export of this plugin's devices");
    return weir_chaos_memory_import(device, exported->data[1], exported->bytes, out_buffer);
}
