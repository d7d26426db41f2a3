// kernels/ref/conv.c: Conv and ConvTranspose, any number of spatial axes.
//
// Source: ONNX operators Conv-22 and ConvTranspose-22. Conv gathers what a block of output
// positions reads into a panel in scratch and then is a matrix product; ConvTranspose adds each
// input row to the output rows that it reaches. Sums run over (channel, kernel element) ascending
// in double, then the bias, and are rounded once.
#include "kernels/ref/window.h"

#define POSITIONS 64 // output positions of one panel

typedef struct conv {
    int64_t batch, group, group_in, group_out;
} conv_t;

static int conv_problem(
    const weir_kr_call_t *call, int transposed, weir_kr_window_t *out_window, conv_t *out_conv)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *k = &call->inputs[1], *y = &call->outputs[0];
    int64_t group = call->params->window.group;
    if (x->rank < 3 || k->rank != x->rank || y->rank != x->rank)
        return WEIR_KR_FAIL(call, "a convolution needs [batch, channel, spatial...]");
    if (group < 1 || x->dims[1] % group != 0 || y->dims[1] % group != 0 || x->dims[0] != y->dims[0])
        return WEIR_KR_FAIL(call, "channels do not divide into %lld groups", (long long)group);
    *out_conv = (conv_t){x->dims[0], group, x->dims[1] / group, y->dims[1] / group};
    if (k->dims[0] != (transposed ? x->dims[1] : y->dims[1]) ||
        k->dims[1] != (transposed ? out_conv->group_out : out_conv->group_in) ||
        (weir__kr_present(call, 2) && weir__kr_count(&call->inputs[2]) != y->dims[1]))
        return WEIR_KR_FAIL(call, "the weights do not fit the channels");
    return weir__kr_window(call, k->dims + 2, out_window);
}

// A transposed convolution pads its own way: SAME_* and output_shape ask for an output, and what is
// too much is cut, half at each end; the odd one at the end only for SAME_UPPER.
static void transposed_pads(const weir_kr_call_t *call, weir_kr_window_t *w)
{
    const weir_kr_window_params_t *params = &call->params->window;
    int same =
        params->auto_pad == WEIR_KR_AUTO_SAME_UPPER || params->auto_pad == WEIR_KR_AUTO_SAME_LOWER;
    for (uint32_t d = 0; d < w->rank && (same || params->has_output_shape); d++) {
        int64_t full = (w->in[d] - 1) * w->stride[d] + (w->kernel[d] - 1) * w->dilation[d] + 1 +
                       params->output_padding[d];
        int64_t total = weir__kr_max(full - w->out[d], 0);
        w->begin[d] = params->auto_pad == WEIR_KR_AUTO_SAME_UPPER ? total / 2 : total - total / 2;
    }
}

void weir_kr_plan_conv(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    weir_kr_window_t window;
    conv_t conv;
    *out_plan = (weir_kr_plan_t){1, 0};
    if (conv_problem(call, 0, &window, &conv) != WEIR_KR_OK)
        return;
    int64_t blocks = (window.out_count + POSITIONS - 1) / POSITIONS;
    out_plan->task_count = (uint64_t)weir__kr_max(conv.batch * conv.group * blocks, 1);
    out_plan->scratch_bytes = (uint64_t)(conv.group_in * window.kernel_count * POSITIONS) *
                              weir_kr_dtype_bytes(call->inputs[0].dtype);
}

void weir_kr_plan_conv_transpose(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    const weir_kr_tensor_t *y = &call->outputs[0];
    int64_t channels = y->rank >= 2 ? y->dims[0] * y->dims[1] : 1;
    out_plan->task_count = (uint64_t)weir__kr_max(channels, 1);
    out_plan->scratch_bytes = y->rank ? (uint64_t)y->dims[y->rank - 1] * sizeof(double) : 0;
}

#define WEIR_KR_BODY "kernels/ref/conv_body.inc"
#include "kernels/ref/each_float.inc"

// y[n, o, p] = bias[o] + sum over c, k of w[o, c, k] x[n, group c, p stride + k dilation - pad].
int weir_k_conv__ref(const weir_kr_call_t *call)
{
    weir_kr_window_t window;
    conv_t problem;
    int code = conv_problem(call, 0, &window, &problem);
    if (code != WEIR_KR_OK)
        return code;
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(conv, call, &window, &problem)
    default:
        return WEIR_KR_FAIL(call, "Conv: unknown element type");
    }
}

// y[n, o, i stride + k dilation - pad] = bias[o] + the sum of w[c, o, k] x[n, c, i] that land
// there.
int weir_k_conv_transpose__ref(const weir_kr_call_t *call)
{
    weir_kr_window_t window;
    conv_t problem;
    int code = conv_problem(call, 1, &window, &problem);
    if (code != WEIR_KR_OK)
        return code;
    transposed_pads(call, &window);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(conv_transpose, call, &window, &problem)
    default:
        return WEIR_KR_FAIL(call, "ConvTranspose: unknown element type");
    }
}
