// kernels/ref/window.c: see window.h.
#include "kernels/ref/window.h"

int weir__kr_window(const weir_kr_call_t *call, const int64_t *kernel, weir_kr_window_t *out_window)
{
    const weir_kr_window_params_t *params = &call->params->window;
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    weir_kr_window_t *w = out_window;
    if (x->rank < 2 || y->rank != x->rank)
        return WEIR_KR_FAIL(call, "a window needs [batch, channel, spatial...]");
    w->rank = x->rank - 2;
    if (params->spatial_rank != 0 && params->spatial_rank != w->rank)
        return WEIR_KR_FAIL(call, "attributes for %u spatial axes, the input has %u",
            params->spatial_rank, w->rank);
    w->in = x->dims + 2;
    w->out = y->dims + 2;
    w->kernel_count = 1;
    for (uint32_t d = 0; d < w->rank; d++) {
        w->kernel[d] = kernel ? kernel[d] : params->kernel[d];
        w->stride[d] = params->strides[d];
        w->dilation[d] = params->dilations[d];
        if (w->kernel[d] < 1 || w->stride[d] < 1 || w->dilation[d] < 1)
            return WEIR_KR_FAIL(call, "kernel, strides and dilations must be at least 1");
        w->kernel_count *= w->kernel[d];
        w->begin[d] = w->end[d] = 0;
        if (params->auto_pad == WEIR_KR_AUTO_NOTSET) {
            w->begin[d] = params->pads[d];
            w->end[d] = params->pads[d + w->rank];
        } else if (params->auto_pad != WEIR_KR_AUTO_VALID) {
            int64_t reach = (w->kernel[d] - 1) * w->dilation[d] + 1;
            int64_t total = weir__kr_max((w->out[d] - 1) * w->stride[d] + reach - w->in[d], 0);
            int upper = params->auto_pad == WEIR_KR_AUTO_SAME_UPPER;
            w->begin[d] = upper ? total / 2 : total - total / 2;
            w->end[d] = total - w->begin[d];
        }
    }
    w->in_count = weir__kr_product(x->dims, 2, x->rank);
    w->out_count = weir__kr_product(y->dims, 2, y->rank);
    return WEIR_KR_OK;
}
