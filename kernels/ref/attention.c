// kernels/ref/attention.c: Attention.
//
// Y = softmax(Q K^T scale + mask) V for each head of each batch, by the definition of
// scaled dot-product attention (Vaswani et al., "Attention Is All You Need", 2017, equation 1).
// Everything in double, rounded once. A task is a few rows of the scores.
#include "kernels/ref/internal.h"

#define TASK_PRODUCTS 1048576

enum { Q, K, V, Y };

// Where the elements of a tensor lie; an axis that its layout lacks has size 1.
typedef struct place {
    int64_t b, h, s, d; // sizes
    int64_t b_step, h_step, s_step, d_step, first;
} place_t;

typedef struct attention {
    place_t at[4];
    int64_t mask_step[4]; // over b, h, s, t
    double scale;
    int64_t rows, rows_per_task;
} attention_t;

static int find_place(const weir_kr_tensor_t *t, const char *layout, int64_t part, place_t *out)
{
    *out = (place_t){.b = 1, .h = 1, .s = 1, .d = 1};
    int64_t step = 1;
    if (strlen(layout) != t->rank)
        return 0;
    for (uint32_t i = t->rank; i-- > 0; step *= t->dims[i]) {
        switch (layout[i]) {
        case 'b':
            out->b = t->dims[i];
            out->b_step = step;
            break;
        case 'h':
            out->h = t->dims[i];
            out->h_step = step;
            break;
        case 's':
            out->s = t->dims[i];
            out->s_step = step;
            break;
        case 'd':
            out->d = t->dims[i];
            out->d_step = step;
            break;
        default:
            if (part < 0 || part >= t->dims[i])
                return 0;
            out->first = part * step;
        }
    }
    return 1;
}

// 0: the shapes do not fit.
static int find_attention(const weir_kr_call_t *call, attention_t *out)
{
    const weir_kr_attention_params_t *params = &call->params->attention;
    memset(out, 0, sizeof(*out));
    for (int i = 0; i < 4; i++)
        if (!find_place(i == Y ? &call->outputs[0] : &call->inputs[i], params->layouts[i],
                i == Y ? 0 : params->parts[i], &out->at[i]))
            return 0;
    const place_t *q = &out->at[Q], *k = &out->at[K], *v = &out->at[V], *y = &out->at[Y];
    if (q->b != k->b || q->b != v->b || q->b != y->b || q->h != k->h || q->h != v->h ||
        q->h != y->h || q->s != y->s || k->s != v->s || q->d != k->d || v->d != y->d)
        return 0;
    const int64_t scores[4] = {q->b, q->h, q->s, k->s};
    if (weir__kr_present(call, 3) &&
        !weir__kr_broadcast(&call->inputs[3], scores, 4, out->mask_step))
        return 0;
    out->scale = params->scale;
    out->rows = y->d ? q->b * q->h * q->s : 0;
    out->rows_per_task = weir__kr_max(1, TASK_PRODUCTS / weir__kr_max(1, k->s * (k->d + v->d)));
    return 1;
}

void weir_kr_plan_attention(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    attention_t attention;
    *out_plan = (weir_kr_plan_t){1, 0};
    if (!find_attention(call, &attention))
        return;
    out_plan->task_count = weir__kr_blocks(attention.rows, attention.rows_per_task);
    out_plan->scratch_bytes = (uint64_t)(attention.at[K].s + attention.at[V].d) * sizeof(double);
}

#define WEIR_KR_BODY "kernels/ref/attention_body.inc"
#include "kernels/ref/each_float.inc"

int weir_k_attention__ref(const weir_kr_call_t *call)
{
    attention_t attention;
    int64_t begin, end;
    if (!find_attention(call, &attention))
        return WEIR_KR_FAIL(call, "Attention: the shapes do not fit");
    weir__kr_range(call, attention.rows, attention.rows_per_task, &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(attention, call, &attention, begin, end)
    default:
        return WEIR_KR_FAIL(call, "Attention: unknown element type");
    }
}
