// scheduler/core/admit.c: is a request taken? If not, it hears so at once, with a reason and when
// to come again.
#include "scheduler/core/state.h"

static weir_code_t refuse(weir__core_t *core, const weir__core_event_t *event, weir_code_t code,
    weir__core_why_t why, uint64_t retry_ns)
{
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_REFUSE);
    if (action) {
        action->ticket = event->ticket;
        action->code = code;
        action->why = why;
        action->time_ns = retry_ns;
    }
    return WEIR_OK;
}

// How long until a batch of this lane leaves: then there is room again.
static uint64_t retry_of(const weir__core_t *core, uint32_t lane)
{
    const weir__model_t *model = &core->models[core->lanes[lane].model];
    const weir__curve_t *curve = weir__place_best_curve(core, lane, model->batch_rows);
    uint64_t ns = weir__curve_mean(curve, model->batch_rows);
    uint32_t parallel = model->parallel_count ? model->parallel_count : 1;
    return ns ? ns / parallel + 1 : core->limits.retry_ns;
}

// What holds for a lane at the time of an arrival.
typedef struct outlook {
    const weir__curve_t *curve; // the best for full batches
    uint64_t residual_ns;       // until an instance should be free
} outlook_t;

// When it should end: what runs, then the batches before its own, then its own. Rows of other flows
// count only as far as they are served between its own: nobody is refused because a neighbour
// queues a lot.
static uint64_t predict(const weir__core_t *core, uint32_t lane, uint32_t flow, uint32_t rows,
    const outlook_t *outlook, uint64_t *out_delay_ns)
{
    const weir__lane_t *it = &core->lanes[lane];
    const weir__model_t *model = &core->models[it->model];
    uint32_t flow_count = 0;
    for (uint32_t i = it->flow; i != WEIR__NONE; i = core->flows[i].next)
        flow_count += core->flows[i].heap != WEIR__NONE || i == flow;
    uint64_t ahead = (uint64_t)core->flows[flow].queued_rows * flow_count;
    if (ahead > it->queued_rows)
        ahead = it->queued_rows;
    // Of 32 bits, as the sum of rows in a queue is: half the time of a division of 64.
    uint32_t batches = (uint32_t)ahead / model->batch_rows;
    uint32_t own = (uint32_t)ahead % model->batch_rows + rows;
    if (own > model->batch_rows)
        own = model->batch_rows;
    uint64_t before = batches ? batches * weir__curve_mean(outlook->curve, model->batch_rows) : 0;
    if (model->parallel_count > 1)
        before /= model->parallel_count;
    uint64_t delay = outlook->residual_ns + before;
    *out_delay_ns = delay;
    return core->now_ns + delay + weir__curve_mean(outlook->curve, own);
}

// Where more than a share of a batch waits: whoever would be late in the next full batch will be
// dropped when it leaves. He may as well hear it now and not stand before those who could be in
// time.
static void push_out(weir__core_t *core, uint32_t lane, uint32_t flow, const outlook_t *outlook)
{
    uint32_t rows = core->models[core->lanes[lane].model].batch_rows;
    const weir__trim_t trim = {
        .curve = outlook->curve,
        .start_ns = core->now_ns + outlook->residual_ns,
        .rows = rows,
        .share = weir__trim_share(core, lane, rows),
        .most = 2,
        .stale = 1,
    };
    if (core->flows[flow].queued_rows >= trim.share)
        weir__trim(core, flow, &trim);
}

// Asks for an instance when the predicted delay has eaten half the slack for a while.
static void feel_pressure(
    weir__core_t *core, uint32_t model, uint64_t delay_ns, uint64_t deadline_ns)
{
    weir__model_t *it = &core->models[model];
    uint64_t slack =
        deadline_ns == WEIR__CORE_NEVER ? core->limits.patience_ns : deadline_ns - core->now_ns;
    if (delay_ns <= slack / 2) {
        it->pressure_ns = WEIR__CORE_NEVER;
    } else if (it->pressure_ns == WEIR__CORE_NEVER) {
        it->pressure_ns = core->now_ns;
    } else if (core->now_ns - it->pressure_ns >= core->limits.scale_up_ns && !core->draining) {
        weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_SCALE_UP);
        if (!action)
            return;
        action->model = it->model;
        action->version = it->version;
        it->pressure_ns = core->now_ns;
    }
}

static void note_arrival(weir__lane_t *lane, uint64_t now_ns, uint32_t rows)
{
    if (lane->arrived_ns == 0) { // there is no gap before the first one
        lane->arrived_ns = now_ns;
        return;
    }
    uint64_t gap = now_ns - lane->arrived_ns;
    gap = (rows > 1 ? gap / rows : gap) + 1;
    if (gap > 1000000000)
        gap = 1000000000;
    lane->gap_ns = lane->gap_ns ? lane->gap_ns - lane->gap_ns / 8 + gap / 8 + 1 : gap;
    lane->arrived_ns = now_ns;
}

static void accept(weir__core_t *core, const weir__core_event_t *event, uint32_t flow)
{
    uint32_t request = (uint32_t)event->ticket;
    weir__request_t *it = &core->requests[request];
    uint64_t patient = core->now_ns + core->limits.patience_ns;
    *it = (weir__request_t){
        .deadline_ns = event->deadline_ns,
        .order_ns = event->deadline_ns == WEIR__CORE_NEVER ? patient : event->deadline_ns,
        .sequence = core->arrival_sequence++,
        .bytes = event->bytes,
        .generation = (uint32_t)(event->ticket >> 32),
        .rows = event->rows,
        .flow = flow,
        .once = event->once != 0,
    };
    uint32_t lane = core->flows[flow].lane;
    core->flows[flow].request_count++;
    core->lanes[lane].request_count++;
    core->models[core->lanes[lane].model].request_count++;
    core->tenants[event->tenant].request_count++;
    core->request_count++;
    core->bytes += event->bytes;
    weir__queue_put(core, request);
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_ADMIT);
    if (action)
        action->ticket = event->ticket;
    if (core->models[core->lanes[lane].model].idle_count && !WEIR__MUTANT(13))
        core->look_lane = lane;
}

// What can be said without looking at the lane.
static weir__core_why_t first_look(
    const weir__core_t *core, const weir__core_event_t *event, uint32_t model)
{
    uint32_t request = (uint32_t)event->ticket;
    if (request >= core->limits.request_count || event->ticket >> 32 == 0 ||
        core->requests[request].state != WEIR__REQUEST_FREE ||
        core->requests[request].generation == (uint32_t)(event->ticket >> 32))
        return WEIR__REFUSE_TICKET;
    if (core->draining && !WEIR__MUTANT(11))
        return WEIR__REFUSE_DRAINING;
    if (event->tenant >= core->limits.tenant_count || event->priority >= WEIR__PRIORITY_COUNT)
        return WEIR__REFUSE_REQUEST;
    if (model == WEIR__NONE || core->models[model].removed)
        return WEIR__REFUSE_MODEL;
    if (event->rows == 0 || event->rows > core->models[model].batch_rows)
        return WEIR__REFUSE_REQUEST;
    if (event->deadline_ns <= core->now_ns)
        return WEIR__REFUSE_EXPIRED;
    if (core->models[model].parallel_count == 0)
        return WEIR__REFUSE_NO_INSTANCE;
    if (core->request_count >= core->count_max)
        return WEIR__REFUSE_COUNT;
    if (event->bytes > core->bytes_max || core->bytes > core->bytes_max - event->bytes)
        return WEIR__REFUSE_BYTES;
    // One tenant may fill eight ninths, so that the others always find room.
    if (core->tenants[event->tenant].request_count / 8 > core->count_max - core->request_count)
        return WEIR__REFUSE_TENANT;
    return WEIR__WHY_NONE;
}

static weir_code_t code_of(weir__core_why_t why)
{
    switch (why) {
    case WEIR__REFUSE_DRAINING:
        return WEIR_DRAINING;
    case WEIR__REFUSE_MODEL:
        return WEIR_NOT_FOUND;
    case WEIR__REFUSE_EXPIRED:
        return WEIR_DEADLINE_EXCEEDED;
    case WEIR__REFUSE_NO_INSTANCE:
        return WEIR_UNAVAILABLE;
    case WEIR__REFUSE_COUNT:
    case WEIR__REFUSE_BYTES:
    case WEIR__REFUSE_TENANT:
        return WEIR_RESOURCE_EXHAUSTED;
    default:
        return WEIR_INVALID_ARGUMENT;
    }
}

weir_code_t weir__admit(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t model = weir__model_find(core, event->model, event->version);
    weir__core_why_t why = first_look(core, event, model);
    if (why != WEIR__WHY_NONE) {
        weir_code_t code = code_of(why);
        int again = code == WEIR_RESOURCE_EXHAUSTED || code == WEIR_UNAVAILABLE;
        return refuse(core, event, code, why, again ? core->limits.retry_ns : 0);
    }
    uint32_t lane = weir__lane_get(core, model, event->dtype, event->shape);
    uint32_t flow = lane == WEIR__NONE ? WEIR__NONE
                                       : weir__flow_get(core, lane, event->tenant, event->priority,
                                             event->deadline_ns, core->now_ns);
    if (flow == WEIR__NONE)
        return refuse(
            core, event, WEIR_RESOURCE_EXHAUSTED, WEIR__REFUSE_LANES, core->limits.retry_ns);
    note_arrival(&core->lanes[lane], core->now_ns, event->rows);
    const outlook_t outlook = {weir__place_best_curve(core, lane, core->models[model].batch_rows),
        weir__place_residual(core, model)};
    push_out(core, lane, flow, &outlook);
    uint64_t delay = 0, end = predict(core, lane, flow, event->rows, &outlook, &delay);
    feel_pressure(core, model, delay, event->deadline_ns);
    // A lone request is always tried when nothing has been learned for long: predictions may be
    // wrong for ever if nothing ever runs.
    int probe = core->lanes[lane].queued_count == 0 && weir__place_stale(core, lane);
    if (end > event->deadline_ns && !probe) {
        core->lanes[lane].pressed_ns = core->now_ns;
        return refuse(core, event, WEIR_INFEASIBLE, WEIR__REFUSE_INFEASIBLE,
            end - event->deadline_ns > 1000000 ? end - event->deadline_ns : retry_of(core, lane));
    }
    accept(core, event, flow);
    return WEIR_OK;
}
