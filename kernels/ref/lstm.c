// kernels/ref/lstm.c: LSTM with the default activations.
//
// Source: ONNX operator LSTM-22; gates lie in the order i, o, f, c; peepholes in the order i, o, f.
//   i = sigmoid(W_i x + R_i h + P_i c + b_i)      f = sigmoid(W_f x + R_f h + P_f c + b_f)
//   c = f c + i tanh(W_c x + R_c h + b_c)         o = sigmoid(W_o x + R_o h + P_o c + b_o), h = o
//   tanh(c)
// A task is one row of the batch in one direction, all its steps. State stays in double between
// steps. Past sequence_lens Y is 0 and the state stands; backwards starts at the last valid step.
#include "kernels/ref/internal.h"

typedef struct lstm {
    int64_t length, batch, input, directions;
} lstm_t;

static double sigmoid(double x)
{
    return x >= 0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}

static double clipped(double x, double clip)
{
    if (clip <= 0)
        return x;
    return x > clip ? clip : x < -clip ? -clip : x;
}

static int lstm_problem(const weir_kr_call_t *call, lstm_t *out)
{
    const weir_kr_lstm_params_t *params = &call->params->lstm;
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t n = params->hidden_size;
    if (x->rank != 3 || n < 1)
        return WEIR_KR_FAIL(call, "LSTM: X must have rank 3 and hidden_size be known");
    *out = (lstm_t){x->dims[params->layout ? 1 : 0], x->dims[params->layout ? 0 : 1], x->dims[2],
        params->direction == WEIR_KR_LSTM_BIDIRECTIONAL ? 2 : 1};
    int64_t states = out->directions * out->batch * n;
    const int64_t expected[8] = {weir__kr_count(x), out->directions * 4 * n * out->input,
        out->directions * 4 * n * n, out->directions * 8 * n, out->batch, states, states,
        out->directions * 3 * n};
    for (uint32_t i = 1; i < 8; i++)
        if (weir__kr_present(call, i) && weir__kr_count(&call->inputs[i]) != expected[i])
            return WEIR_KR_FAIL(call, "LSTM: input %u has %lld elements, not %lld", i,
                (long long)weir__kr_count(&call->inputs[i]), (long long)expected[i]);
    for (uint32_t i = 0; i < 3; i++)
        if (weir__kr_wanted(call, i) &&
            (call->outputs[i].dtype != x->dtype ||
                weir__kr_count(&call->outputs[i]) != (i == 0 ? states * out->length : states)))
            return WEIR_KR_FAIL(call, "LSTM: output %u does not fit", i);
    return WEIR_KR_OK;
}

void weir_kr_plan_lstm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    lstm_t problem;
    weir_kr_call_t silent = *call;
    silent.error_bytes = 0;
    *out_plan = (weir_kr_plan_t){1, 0};
    if (lstm_problem(&silent, &problem) != WEIR_KR_OK)
        return;
    out_plan->task_count = (uint64_t)weir__kr_max(problem.directions * problem.batch, 1);
    out_plan->scratch_bytes =
        (uint64_t)(10 * call->params->lstm.hidden_size + problem.input) * sizeof(double);
}

#define WEIR_KR_BODY "kernels/ref/lstm_body.inc"
#include "kernels/ref/each_float.inc"

int weir_k_lstm__ref(const weir_kr_call_t *call)
{
    lstm_t problem;
    int code = lstm_problem(call, &problem);
    if (code != WEIR_KR_OK)
        return code;
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(lstm, call, &problem)
    default:
        return WEIR_KR_FAIL(call, "LSTM: unknown element type");
    }
}
