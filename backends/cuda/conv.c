// backends/cuda/conv.c: convolutions by cuDNN's backend API: an operation graph, an engine, a plan.
//
// The graph is one convolution of row-major tensors, which the library's compiled engines take in
// each type. A bias or Relu in the graph would need an engine that is generated when it runs, and
// these want channels last. Engines come from the heuristic in its order, then from the library's
// fallback list; strict f32 leaves out those whose notes say tensor cores or rounded inputs. The
// first that makes a plan is taken, and its number kept, so that the next time it is tried first.
// Plans are shared by all that ask for the same convolution. A handle is one thread's at a time,
// and a launch must wait neither for a plan nor for a capture, in which the library may load
// kernels: one handle executes launches, another makes plans and executes captures. Both are made
// with the first plan, because devices are often opened for models without a convolution.
// Must not be asked for a new plan from a launch: making it takes milliseconds.
#include "backends/cuda/cuda.h"

#include <cudnn_graph.h>
#include <stdio.h>
#include <string.h>

#define ENGINES_MAX 16 // of each heuristic
#define HEURISTICS 2
#define DESCRIPTORS_MAX 16 // beside the engines
#define ALIGNMENT 16       // of tensors, in bytes

struct weir_cuda_convs {
    cudnnHandle_t handle; // it executes launches
    pthread_mutex_t lock; // the handle's stream is set before each execution; and of the list
    CUstream stream;      // that it has
    cudnnHandle_t planner;
    pthread_mutex_t plan_lock; // of the planner, and of making both; taken before `lock`
    CUstream planner_stream;
    struct plan *plans;
    weir_cuda_device_t *device;
    __typeof__(cudnnGetVersion) *version;
    __typeof__(cudnnGetErrorString) *error_string;
    __typeof__(cudnnCreate) *create;
    __typeof__(cudnnDestroy) *destroy;
    __typeof__(cudnnSetStream) *set_stream;
    __typeof__(cudnnBackendCreateDescriptor) *make;
    __typeof__(cudnnBackendDestroyDescriptor) *free;
    __typeof__(cudnnBackendSetAttribute) *set;
    __typeof__(cudnnBackendGetAttribute) *get;
    __typeof__(cudnnBackendFinalize) *finalize;
    __typeof__(cudnnBackendExecute) *execute;
};

static const struct {
    const char *name;
    size_t at;
} calls[] = {
    {"cudnnGetVersion", offsetof(weir_cuda_convs_t, version)},
    {"cudnnGetErrorString", offsetof(weir_cuda_convs_t, error_string)},
    {"cudnnCreate", offsetof(weir_cuda_convs_t, create)},
    {"cudnnDestroy", offsetof(weir_cuda_convs_t, destroy)},
    {"cudnnSetStream", offsetof(weir_cuda_convs_t, set_stream)},
    {"cudnnBackendCreateDescriptor", offsetof(weir_cuda_convs_t, make)},
    {"cudnnBackendDestroyDescriptor", offsetof(weir_cuda_convs_t, free)},
    {"cudnnBackendSetAttribute", offsetof(weir_cuda_convs_t, set)},
    {"cudnnBackendGetAttribute", offsetof(weir_cuda_convs_t, get)},
    {"cudnnBackendFinalize", offsetof(weir_cuda_convs_t, finalize)},
    {"cudnnBackendExecute", offsetof(weir_cuda_convs_t, execute)},
};

enum { UID_X = 1, UID_W, UID_Y };

// The descriptors that the plan was made of live as long as it: nobody promises that it copied
// them.
typedef struct plan {
    struct plan *next; // of the device's
    weir_cuda_conv_t key;
    uint32_t users;
    // The library says that handles are one thread's, and of plans nothing: one execution at a
    // time. Taken behind plan_lock and before `lock`.
    pthread_mutex_t lock;
    cudnnBackendDescriptor_t plan;
    uint64_t workspace_bytes;
    uint32_t made_count;
    cudnnBackendDescriptor_t made[DESCRIPTORS_MAX + HEURISTICS * ENGINES_MAX];
} plan_t;

// What is made on the way to a plan.
typedef struct maker {
    weir_cuda_device_t *device;
    const weir_cuda_convs_t *lib;
    cudnnStatus_t status; // of the first call that failed
    const char *call;
    cudnnBackendDescriptor_t made[DESCRIPTORS_MAX + HEURISTICS * ENGINES_MAX];
    uint32_t made_count;
} maker_t;

// ---- The library --------------------------------------------------------------------------------

static const char *name_of(const weir_cuda_convs_t *convs, cudnnStatus_t status)
{
    const char *name = convs->error_string(status);
    return name ? name : "a status without a name";
}

// Both handles, with the first plan; under plan_lock.
static weir_code_t start(weir_cuda_convs_t *convs)
{
    cudnnHandle_t handle = NULL;
    if (convs->planner)
        return WEIR_OK;
    cudnnStatus_t status = convs->create(&handle);
    if (status == CUDNN_STATUS_SUCCESS) {
        status = convs->create(&convs->planner);
        if (status == CUDNN_STATUS_SUCCESS) {
            convs->handle = handle;
            return WEIR_OK;
        }
        convs->planner = NULL;
        (void)convs->destroy(handle);
    }
    char text[WEIR_REASON_BYTES];
    snprintf(text, sizeof text, "cudnnCreate: %s", name_of(convs, status));
    return weir_cuda_stay_own(convs->device, text);
}

weir_cuda_convs_t *weir_cuda_convs_open(weir_cuda_device_t *device)
{
    weir_cuda_state_t *state = device->state;
    weir_cuda_library_t *library = &state->libraries[WEIR_CUDA_LIBRARY_CUDNN];
    const weir_host_t *host = device->host;
    weir_cuda_convs_t *convs = host->alloc(host, sizeof *convs);
    if (!convs)
        return NULL;
    memset(convs, 0, sizeof *convs);
    convs->device = device;
    pthread_mutex_lock(&state->lock);
    bool is_there = weir_cuda_library(state, WEIR_CUDA_LIBRARY_CUDNN) != NULL;
    for (uint32_t i = 0; is_there && i < sizeof calls / sizeof calls[0]; i++) {
        void *symbol = weir_cuda_symbol(state, WEIR_CUDA_LIBRARY_CUDNN, calls[i].name);
        is_there = symbol != NULL;
        memcpy((char *)convs + calls[i].at, &symbol, sizeof symbol);
    }
    if (is_there) {
        size_t version = convs->version();
        snprintf(library->version, sizeof library->version, "cuDNN %zu.%zu.%zu", version / 10000,
            version % 10000 / 100, version % 100);
    }
    pthread_mutex_unlock(&state->lock);
    if (!is_there)
        weir_cuda_library_missed(device, WEIR_CUDA_LIBRARY_CUDNN);
    if (is_there) {
        pthread_mutex_init(&convs->lock, NULL);
        pthread_mutex_init(&convs->plan_lock, NULL);
        return convs;
    }
    host->free(host, convs);
    return NULL;
}

void weir_cuda_convs_close(weir_cuda_convs_t *convs)
{
    if (!convs)
        return;
    const weir_host_t *host = convs->device->host;
    if (convs->planner) {
        (void)convs->destroy(convs->planner);
        (void)convs->destroy(convs->handle);
    }
    pthread_mutex_destroy(&convs->plan_lock);
    pthread_mutex_destroy(&convs->lock);
    host->free(host, convs);
}

void weir_cuda_convs_forget(weir_cuda_convs_t *convs, CUstream stream)
{
    if (!convs)
        return;
    pthread_mutex_lock(&convs->lock);
    if (convs->stream && convs->stream == stream) {
        (void)convs->set_stream(convs->handle, NULL);
        convs->stream = NULL;
    }
    pthread_mutex_unlock(&convs->lock);
    pthread_mutex_lock(&convs->plan_lock);
    if (convs->planner_stream && convs->planner_stream == stream) {
        (void)convs->set_stream(convs->planner, NULL);
        convs->planner_stream = NULL;
    }
    pthread_mutex_unlock(&convs->plan_lock);
}

static weir_code_t refuse(
    weir_cuda_device_t *device, cudnnStatus_t status, const char *call, weir_cuda_asked_t asked)
{
    weir_code_t code = WEIR_INTERNAL;
    if (status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR)
        code = WEIR_UNSUPPORTED; // a family of results, each with its reason
    else if (status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
             status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)
        code = WEIR_RESOURCE_EXHAUSTED;
    else if (status >= CUDNN_STATUS_EXECUTION_FAILED)
        code = WEIR_DEVICE_LOST;
    return weir_cuda_library_failed(device, asked, code, call, name_of(device->convs, status));
}

// ---- Descriptors --------------------------------------------------------------------------------

static void note(maker_t *maker, cudnnStatus_t status, const char *call)
{
    if (maker->status == CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_SUCCESS) {
        maker->status = status;
        maker->call = call;
    }
}

static cudnnBackendDescriptor_t make(maker_t *maker, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t made = NULL;
    if (maker->status != CUDNN_STATUS_SUCCESS)
        return NULL;
    note(maker, maker->lib->make(type, &made), "cudnnBackendCreateDescriptor");
    if (maker->status == CUDNN_STATUS_SUCCESS)
        maker->made[maker->made_count++] = made;
    return made;
}

static void set(maker_t *maker, cudnnBackendDescriptor_t of, cudnnBackendAttributeName_t name,
    cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (maker->status == CUDNN_STATUS_SUCCESS)
        note(maker, maker->lib->set(of, name, type, count, values), "cudnnBackendSetAttribute");
}

static void set_number(
    maker_t *maker, cudnnBackendDescriptor_t of, cudnnBackendAttributeName_t name, int64_t number)
{
    set(maker, of, name, CUDNN_TYPE_INT64, 1, &number);
}

static void set_descriptor(maker_t *maker, cudnnBackendDescriptor_t of,
    cudnnBackendAttributeName_t name, cudnnBackendDescriptor_t value)
{
    set(maker, of, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

static void finalize(maker_t *maker, cudnnBackendDescriptor_t made)
{
    if (maker->status == CUDNN_STATUS_SUCCESS)
        note(maker, maker->lib->finalize(made), "cudnnBackendFinalize");
}

// A row-major tensor. Convolutions of one spatial dim have a second one of 1, in front.
static cudnnBackendDescriptor_t make_tensor(
    maker_t *maker, cudnnDataType_t type, int64_t uid, const int64_t dims[4])
{
    int64_t strides[4] = {dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1};
    cudnnBackendDescriptor_t made = make(maker, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    set(maker, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(maker, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(maker, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set_number(maker, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, uid);
    set_number(maker, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, ALIGNMENT);
    finalize(maker, made);
    return made;
}

static cudnnBackendDescriptor_t make_conv(maker_t *maker, const weir_cuda_conv_t *conv,
    cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y)
{
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    float one = 1, zero = 0;
    bool is_flat = conv->spatial_rank == 1;
    const int64_t strides[2] = {is_flat ? 1 : conv->strides[0], conv->strides[is_flat ? 0 : 1]};
    const int64_t dilations[2] = {
        is_flat ? 1 : conv->dilations[0], conv->dilations[is_flat ? 0 : 1]};
    const int64_t before[2] = {
        is_flat ? 0 : conv->pads_before[0], conv->pads_before[is_flat ? 0 : 1]};
    const int64_t after[2] = {is_flat ? 0 : conv->pads_after[0], conv->pads_after[is_flat ? 0 : 1]};
    cudnnBackendDescriptor_t how = make(maker, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    set_number(maker, how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, before);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, after);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    set(maker, how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    finalize(maker, how);
    cudnnBackendDescriptor_t made =
        make(maker, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    set_descriptor(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    set_descriptor(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    set_descriptor(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    set_descriptor(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, how);
    set(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one);
    set(maker, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero);
    finalize(maker, made);
    return made;
}

static void spread(const int64_t dims[4], uint32_t spatial_rank, int64_t out[4])
{
    out[0] = dims[0];
    out[1] = dims[1];
    out[2] = spatial_rank == 1 ? 1 : dims[2];
    out[3] = spatial_rank == 1 ? dims[2] : dims[3];
}

static cudnnBackendDescriptor_t make_graph(maker_t *maker, const weir_cuda_conv_t *conv)
{
    cudnnDataType_t type = conv->dtype == WEIR_F32    ? CUDNN_DATA_FLOAT
                           : conv->dtype == WEIR_BF16 ? CUDNN_DATA_BFLOAT16
                                                      : CUDNN_DATA_HALF;
    int64_t x_dims[4], w_dims[4], y_dims[4];
    spread(conv->x_dims, conv->spatial_rank, x_dims);
    spread(conv->w_dims, conv->spatial_rank, w_dims);
    spread(conv->y_dims, conv->spatial_rank, y_dims);
    cudnnBackendDescriptor_t x = make_tensor(maker, type, UID_X, x_dims);
    cudnnBackendDescriptor_t w = make_tensor(maker, type, UID_W, w_dims);
    cudnnBackendDescriptor_t y = make_tensor(maker, type, UID_Y, y_dims);
    cudnnBackendDescriptor_t operation = make_conv(maker, conv, x, w, y);
    cudnnBackendDescriptor_t made = make(maker, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    set(maker, made, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &maker->lib->planner);
    set_descriptor(maker, made, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
    finalize(maker, made);
    return made;
}

// ---- Choosing an engine -------------------------------------------------------------------------

// The engines of one heuristic, best first; how many. One that knows none may say that it is not
// supported, which ends nothing: the other has its turn.
static uint32_t list_engines(maker_t *maker, cudnnBackendDescriptor_t graph,
    cudnnBackendHeurMode_t mode, cudnnBackendDescriptor_t out_engines[ENGINES_MAX])
{
    int64_t count = 0;
    cudnnBackendDescriptor_t heuristic = make(maker, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    set_descriptor(maker, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    set(maker, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (maker->status != CUDNN_STATUS_SUCCESS)
        return 0;
    cudnnStatus_t status = maker->lib->finalize(heuristic);
    if (status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR)
        return 0;
    note(maker, status, "cudnnBackendFinalize");
    for (uint32_t i = 0; i < ENGINES_MAX; i++)
        out_engines[i] = make(maker, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    if (maker->status == CUDNN_STATUS_SUCCESS) {
        status = maker->lib->get(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
            CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES_MAX, &count, out_engines);
        if (status >= CUDNN_STATUS_NOT_SUPPORTED && status < CUDNN_STATUS_INTERNAL_ERROR)
            return 0;
        note(maker, status, "cudnnBackendGetAttribute");
    }
    return maker->status == CUDNN_STATUS_SUCCESS ? (uint32_t)WEIR_MIN(count, ENGINES_MAX) : 0;
}

// The number of a configuration's engine, and whether it keeps f32. -1: it does not say.
static int64_t engine_number(
    maker_t *maker, cudnnBackendDescriptor_t configuration, bool *out_is_strict)
{
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t count = 0, number = -1;
    *out_is_strict = false;
    cudnnBackendDescriptor_t engine = NULL;
    if (maker->lib->make(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS)
        return -1;
    cudnnStatus_t status = maker->lib->get(configuration, CUDNN_ATTR_ENGINECFG_ENGINE,
        CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine);
    if (status == CUDNN_STATUS_SUCCESS)
        status = maker->lib->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
            CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes);
    if (status == CUDNN_STATUS_SUCCESS) {
        *out_is_strict = true;
        count = WEIR_MIN(count, CUDNN_NUMERICAL_NOTE_TYPE_COUNT); // there may be more than fit
        for (int64_t i = 0; i < count; i++)
            if (notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE ||
                notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
                *out_is_strict = false;
        status = maker->lib->get(
            engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &count, &number);
    }
    (void)maker->lib->free(engine);
    return status == CUDNN_STATUS_SUCCESS ? number : -1;
}

// A plan of one engine; NULL: it makes none, or one that takes too much memory.
static cudnnBackendDescriptor_t plan_of(maker_t *maker, cudnnBackendDescriptor_t configuration,
    uint64_t workspace_max, uint64_t *out_workspace_bytes)
{
    const weir_cuda_convs_t *lib = maker->lib;
    cudnnBackendDescriptor_t plan = NULL;
    int64_t workspace = 0, count = 0;
    if (lib->make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) != CUDNN_STATUS_SUCCESS)
        return NULL;
    cudnnStatus_t status =
        lib->set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &lib->planner);
    if (status == CUDNN_STATUS_SUCCESS)
        status = lib->set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
            CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &configuration);
    if (status == CUDNN_STATUS_SUCCESS)
        status = lib->finalize(plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = lib->get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1,
            &count, &workspace);
    if (status != CUDNN_STATUS_SUCCESS || workspace < 0 || (uint64_t)workspace > workspace_max) {
        (void)lib->free(plan);
        return NULL;
    }
    *out_workspace_bytes = (uint64_t)workspace;
    return plan;
}

// The first engine that will do; the one that did before comes first.
static cudnnBackendDescriptor_t choose(maker_t *maker, const weir_cuda_conv_t *key,
    const cudnnBackendDescriptor_t *engines, uint32_t count, uint64_t workspace_max,
    uint64_t *out_workspace_bytes)
{
    uint8_t choice[WEIR_CUDA_CHOICE_BYTES] = {0};
    bool wants_strict = key->precision == WEIR_CUDA_F32 && key->dtype == WEIR_F32;
    bool is_known = weir_cuda_choice_get(maker->device, key, sizeof *key, choice);
    int64_t known = -1;
    if (is_known)
        memcpy(&known, choice, sizeof known);
    for (uint32_t round = is_known ? 0 : 1; round < 2; round++)
        for (uint32_t i = 0; i < count; i++) {
            bool is_strict;
            int64_t number = engine_number(maker, engines[i], &is_strict);
            if ((wants_strict && !is_strict) || (round == 0 && number != known))
                continue;
            cudnnBackendDescriptor_t plan =
                plan_of(maker, engines[i], workspace_max, out_workspace_bytes);
            if (plan && number != known) {
                memset(choice, 0, sizeof choice);
                memcpy(choice, &number, sizeof number);
                weir_cuda_choice_put(maker->device, key, sizeof *key, choice);
            }
            if (plan)
                return plan;
        }
    return NULL;
}

// ---- Plans --------------------------------------------------------------------------------------

// A copy that is the same for the same convolution: every byte of it is part of a key.
static void copy_shape(const weir_cuda_conv_t *conv, weir_cuda_conv_t *out)
{
    uint32_t rank = conv->spatial_rank + 2;
    memset(out, 0, sizeof *out);
    out->dtype = conv->dtype;
    out->precision = conv->precision;
    out->spatial_rank = conv->spatial_rank;
    out->groups = conv->groups;
    for (uint32_t i = 0; i < rank; i++) {
        out->x_dims[i] = conv->x_dims[i];
        out->w_dims[i] = conv->w_dims[i];
        out->y_dims[i] = conv->y_dims[i];
    }
    for (uint32_t i = 0; i < conv->spatial_rank; i++) {
        out->pads_before[i] = conv->pads_before[i];
        out->pads_after[i] = conv->pads_after[i];
        out->strides[i] = conv->strides[i];
        out->dilations[i] = conv->dilations[i];
    }
}

static void plan_free(weir_cuda_device_t *device, plan_t *plan)
{
    if (plan->plan)
        (void)device->convs->free(plan->plan);
    while (plan->made_count)
        (void)device->convs->free(plan->made[--plan->made_count]);
    pthread_mutex_destroy(&plan->lock);
    device->host->free(device->host, plan);
}

// Why a convolution stays on the own kernel: nobody else would say so.
static weir_code_t say_no_engine(weir_cuda_device_t *device, const weir_cuda_conv_t *conv)
{
    char text[WEIR_REASON_BYTES];
    snprintf(text, sizeof text,
        "cuDNN has no engine for a convolution [%lld, %lld, %lld, %lld] by [%lld, %lld, %lld, "
        "%lld]",
        (long long)conv->x_dims[0], (long long)conv->x_dims[1], (long long)conv->x_dims[2],
        (long long)conv->x_dims[3], (long long)conv->w_dims[0], (long long)conv->w_dims[1],
        (long long)conv->w_dims[2], (long long)conv->w_dims[3]);
    return weir_cuda_stay_own(device, text);
}

static weir_code_t make_plan(weir_cuda_device_t *device, uint64_t workspace_max, plan_t *plan)
{
    const weir_cuda_conv_t *key = &plan->key;
    cudnnBackendDescriptor_t engines[HEURISTICS * ENGINES_MAX];
    maker_t maker = {.device = device, .lib = device->convs};
    cudnnBackendDescriptor_t graph = make_graph(&maker, key);
    uint32_t count = list_engines(&maker, graph, CUDNN_HEUR_MODE_A, engines);
    count += list_engines(&maker, graph, CUDNN_HEUR_MODE_FALLBACK, engines + count);
    if (maker.status == CUDNN_STATUS_SUCCESS)
        plan->plan = choose(&maker, key, engines, count, workspace_max, &plan->workspace_bytes);
    plan->made_count = maker.made_count;
    memcpy(plan->made, maker.made, maker.made_count * sizeof *maker.made);
    if (maker.status != CUDNN_STATUS_SUCCESS)
        return refuse(device, maker.status, maker.call, WEIR_CUDA_ASKED_PLAN);
    return plan->plan ? WEIR_OK : say_no_engine(device, key);
}

// The plan of this key, with one more user; under the lock.
static plan_t *find_plan(weir_cuda_convs_t *convs, const weir_cuda_conv_t *key, uint64_t max)
{
    plan_t *plan = convs->plans;
    while (plan && (plan->workspace_bytes > max || memcmp(&plan->key, key, sizeof *key) != 0))
        plan = plan->next;
    if (plan)
        plan->users++;
    return plan;
}

void *weir_cuda_conv_find(weir_cuda_device_t *device, const weir_cuda_conv_t *conv,
    uint64_t workspace_max, uint64_t *out_workspace_bytes)
{
    weir_cuda_conv_t key;
    if (!device->convs)
        return NULL;
    copy_shape(conv, &key);
    pthread_mutex_lock(&device->convs->lock);
    plan_t *plan = find_plan(device->convs, &key, workspace_max);
    pthread_mutex_unlock(&device->convs->lock);
    *out_workspace_bytes = plan ? plan->workspace_bytes : 0;
    return plan;
}

weir_code_t weir_cuda_conv_plan(weir_cuda_device_t *device, const weir_cuda_conv_t *conv,
    uint64_t workspace_max, void **out_plan, uint64_t *out_workspace_bytes)
{
    const weir_host_t *host = device->host;
    *out_plan = NULL;
    if (!device->convs || conv->spatial_rank < 1 || conv->spatial_rank > 2)
        return weir_cuda_stay_own(device, "cuDNN does not take this convolution");
    *out_plan = weir_cuda_conv_find(device, conv, workspace_max, out_workspace_bytes);
    if (*out_plan)
        return WEIR_OK;
    plan_t *plan = host->alloc(host, sizeof *plan);
    if (!plan)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a convolution");
    *plan = (plan_t){.users = 1};
    pthread_mutex_init(&plan->lock, NULL);
    copy_shape(conv, &plan->key);
    pthread_mutex_lock(&device->convs->plan_lock);
    weir_code_t code = start(device->convs);
    if (code == WEIR_OK)
        code = make_plan(device, workspace_max, plan);
    pthread_mutex_unlock(&device->convs->plan_lock);
    if (code != WEIR_OK) {
        plan_free(device, plan);
        return code;
    }
    // Another thread may have made the same one meanwhile: both are good.
    pthread_mutex_lock(&device->convs->lock);
    plan->next = device->convs->plans;
    device->convs->plans = plan;
    pthread_mutex_unlock(&device->convs->lock);
    *out_plan = plan;
    *out_workspace_bytes = plan->workspace_bytes;
    return WEIR_OK;
}

void weir_cuda_conv_free(weir_cuda_device_t *device, void *opaque)
{
    plan_t *plan = opaque;
    if (!plan)
        return;
    pthread_mutex_lock(&device->convs->lock);
    const bool is_last = --plan->users == 0;
    plan_t **link = &device->convs->plans;
    while (is_last && *link != plan)
        link = &(*link)->next;
    if (is_last)
        *link = plan->next;
    pthread_mutex_unlock(&device->convs->lock);
    if (is_last)
        plan_free(device, plan);
}

// The library's pack of pointers, for one execution.
static cudnnStatus_t pack(const weir_cuda_convs_t *lib, const plan_t *plan,
    const CUdeviceptr addresses[3], CUdeviceptr workspace, cudnnBackendDescriptor_t *out_pack,
    const char **out_call)
{
    const int64_t uids[3] = {UID_X, UID_W, UID_Y};
    void *pointers[3], *memory = plan->workspace_bytes ? (void *)(uintptr_t)workspace : NULL;
    for (uint32_t i = 0; i < 3; i++)
        pointers[i] = (void *)(uintptr_t)addresses[i];
    *out_pack = NULL;
    *out_call = "cudnnBackendCreateDescriptor";
    cudnnStatus_t status = lib->make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, out_pack);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    *out_call = "cudnnBackendSetAttribute";
    status = lib->set(*out_pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uids);
    if (status == CUDNN_STATUS_SUCCESS)
        status = lib->set(
            *out_pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers);
    if (status == CUDNN_STATUS_SUCCESS)
        status =
            lib->set(*out_pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &memory);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    *out_call = "cudnnBackendFinalize";
    return lib->finalize(*out_pack);
}

// The handle keeps the stream: *out_held is what weir_cuda_convs_forget goes by.
static cudnnStatus_t execute(const weir_cuda_convs_t *lib, cudnnHandle_t handle, CUstream *out_held,
    CUstream stream, const plan_t *plan, cudnnBackendDescriptor_t packed, const char **out_call)
{
    *out_call = "cudnnSetStream";
    cudnnStatus_t status = lib->set_stream(handle, stream);
    if (status != CUDNN_STATUS_SUCCESS)
        return status;
    *out_held = stream;
    *out_call = "cudnnBackendExecute";
    return lib->execute(handle, plan->plan, packed);
}

weir_code_t weir_cuda_conv_enqueue(weir_cuda_device_t *device, void *opaque,
    const CUdeviceptr addresses[3], CUdeviceptr workspace, CUstream stream, weir_cuda_asked_t asked)
{
    weir_cuda_convs_t *lib = device->convs;
    plan_t *plan = opaque;
    cudnnBackendDescriptor_t packed;
    const char *call;
    cudnnStatus_t status = pack(lib, plan, addresses, workspace, &packed, &call);
    if (status == CUDNN_STATUS_SUCCESS && asked == WEIR_CUDA_ASKED_CAPTURE) {
        pthread_mutex_lock(&lib->plan_lock);
        pthread_mutex_lock(&plan->lock);
        status = execute(lib, lib->planner, &lib->planner_stream, stream, plan, packed, &call);
        pthread_mutex_unlock(&plan->lock);
        pthread_mutex_unlock(&lib->plan_lock);
    } else if (status == CUDNN_STATUS_SUCCESS) {
        pthread_mutex_lock(&plan->lock);
        pthread_mutex_lock(&lib->lock);
        status = execute(lib, lib->handle, &lib->stream, stream, plan, packed, &call);
        pthread_mutex_unlock(&lib->lock);
        pthread_mutex_unlock(&plan->lock);
    }
    if (packed)
        (void)lib->free(packed);
    return status == CUDNN_STATUS_SUCCESS ? WEIR_OK : refuse(device, status, call, asked);
}
