// tests/support/fake_cuda/cudnn.c: a cuDNN whose backend API knows a convolution, and computes it
// in plain C when the stream comes to it.
//
// A descriptor keeps its attributes as they were set. As the real one it is particular: attributes
// have their types, children are final, tensors are as aligned as was said, and for row-major
// tensors its engines know single operations alone. There are two: number 7, the heuristic's, uses
// tensor cores (so strict f32 must not take it); number 3, of the fallback list, does not. A plan's
// code is loaded when it is executed for the first time. A handle in two threads at once, or one
// that still has a stream that is gone, ends the test.
#include "tests/support/fake_cuda/fake.h"

#include <cudnn_graph.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_CALL()                                                                                \
    do {                                                                                           \
        int fault_ = fake_cuda_enter(__func__, FAKE_FROM());                                       \
        if (fault_)                                                                                \
            return (cudnnStatus_t)fault_;                                                          \
    } while (0)
#define ATTRIBUTES_MAX 16
#define VALUE_BYTES 64
#define WORKSPACE 4096

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    unsigned char value[VALUE_BYTES];
} attribute_t;

typedef struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool is_final;
    uint32_t attribute_count;
    attribute_t attributes[ATTRIBUTES_MAX];
    int64_t engine; // of an engine or its configuration
    bool is_loaded; // a plan's code; its handle's user sets it
} descriptor_t;

struct cudnnContext {
    cudaStream_t stream;
    atomic_bool is_used;
};

typedef struct conv {
    int64_t x[4], w[4], y[4], before[2], strides[2], dilations[2];
    const float *x_data, *w_data;
    float *y_data;
    unsigned char *workspace;
} conv_t;

static size_t value_bytes(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    case CUDNN_TYPE_BOOLEAN:
        return sizeof(bool);
    default:
        return 4;
    }
}

static const attribute_t *find(const descriptor_t *of, cudnnBackendAttributeName_t name)
{
    for (uint32_t i = 0; i < of->attribute_count; i++)
        if (of->attributes[i].name == name)
            return &of->attributes[i];
    return NULL;
}

static const descriptor_t *child(const descriptor_t *of, cudnnBackendAttributeName_t name)
{
    const attribute_t *attribute = of ? find(of, name) : NULL;
    const descriptor_t *found = NULL;
    if (attribute)
        memcpy(&found, attribute->value, sizeof found);
    return found;
}

// ---- The library --------------------------------------------------------------------------------

static _Noreturn void die(const char *why)
{
    (void)fprintf(stderr, "fake cudnn: %s\n", why);
    abort();
}

// Around all that is done with a handle.
static void take(cudnnHandle_t handle)
{
    if (atomic_exchange(&handle->is_used, true))
        die("a handle is in two threads at once");
    if (handle->stream && !fake_cuda_stream_is_alive(handle->stream))
        die("a handle has a stream that is gone");
    sched_yield();
}

static void give(cudnnHandle_t handle)
{
    atomic_store(&handle->is_used, false);
}

size_t cudnnGetVersion(void)
{
    return 90000;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    if (fake_cuda_enter(__func__, FAKE_FROM()))
        return NULL;
    return status == CUDNN_STATUS_EXECUTION_FAILED ? "CUDNN_STATUS_EXECUTION_FAILED"
                                                   : "a status of the fake";
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    FAKE_CALL();
    *handle = calloc(1, sizeof **handle);
    return *handle ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    FAKE_FREES();
    take(handle);
    free(handle);
    return (cudnnStatus_t)fault;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    FAKE_FREES();
    if (fault && stream)
        return (cudnnStatus_t)fault;
    take(handle);
    handle->stream = stream;
    give(handle);
    return (cudnnStatus_t)fault;
}

// ---- Descriptors --------------------------------------------------------------------------------

cudnnStatus_t cudnnBackendCreateDescriptor(
    cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out_descriptor)
{
    FAKE_CALL();
    descriptor_t *made = calloc(1, sizeof *made);
    if (!made)
        return CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
    made->type = type;
    *out_descriptor = made;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor)
{
    FAKE_FREES();
    free(descriptor);
    return (cudnnStatus_t)fault;
}

// The type of an attribute; of those that the plugin has no need of none is known.
static bool is_type_of(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type)
{
    switch (name) {
    case CUDNN_ATTR_TENSOR_DATA_TYPE:
    case CUDNN_ATTR_CONVOLUTION_COMP_TYPE:
        return type == CUDNN_TYPE_DATA_TYPE;
    case CUDNN_ATTR_CONVOLUTION_CONV_MODE:
        return type == CUDNN_TYPE_CONVOLUTION_MODE;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA:
        return type == CUDNN_TYPE_FLOAT;
    case CUDNN_ATTR_OPERATIONGRAPH_HANDLE:
    case CUDNN_ATTR_EXECUTION_PLAN_HANDLE:
        return type == CUDNN_TYPE_HANDLE;
    case CUDNN_ATTR_ENGINEHEUR_MODE:
        return type == CUDNN_TYPE_HEUR_MODE;
    case CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS:
    case CUDNN_ATTR_VARIANT_PACK_WORKSPACE:
        return type == CUDNN_TYPE_VOID_PTR;
    case CUDNN_ATTR_TENSOR_DIMENSIONS:
    case CUDNN_ATTR_TENSOR_STRIDES:
    case CUDNN_ATTR_TENSOR_UNIQUE_ID:
    case CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT:
    case CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS:
    case CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS:
    case CUDNN_ATTR_CONVOLUTION_POST_PADDINGS:
    case CUDNN_ATTR_CONVOLUTION_DILATIONS:
    case CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES:
    case CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS:
        return type == CUDNN_TYPE_INT64;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC:
    case CUDNN_ATTR_OPERATIONGRAPH_OPS:
    case CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH:
    case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
        return type == CUDNN_TYPE_BACKEND_DESCRIPTOR;
    default:
        return false;
    }
}

static bool are_final(const void *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const descriptor_t *child_of;
        memcpy(&child_of, (const char *)values + 8 * i, sizeof child_of);
        if (!child_of || !child_of->is_final)
            return false;
    }
    return true;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t opaque,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
    const void *values)
{
    FAKE_CALL();
    descriptor_t *of = opaque;
    size_t bytes = (size_t)count * value_bytes(type);
    if (of->is_final || of->attribute_count == ATTRIBUTES_MAX || bytes > VALUE_BYTES ||
        !is_type_of(name, type))
        return CUDNN_STATUS_BAD_PARAM;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR && !are_final(values, count))
        return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    attribute_t *attribute = &of->attributes[of->attribute_count++];
    attribute->name = name;
    attribute->count = count;
    memcpy(attribute->value, values, bytes);
    return CUDNN_STATUS_SUCCESS;
}

// Only f32 is computed; the rest is refused, as an engine would.
static bool is_f32(const descriptor_t *conv)
{
    const descriptor_t *x = child(conv, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X);
    const attribute_t *attribute = x ? find(x, CUDNN_ATTR_TENSOR_DATA_TYPE) : NULL;
    cudnnDataType_t type = CUDNN_DATA_HALF;
    if (attribute)
        memcpy(&type, attribute->value, sizeof type);
    return type == CUDNN_DATA_FLOAT;
}

// Does each descriptor of this type say what it must?
static bool is_complete(const descriptor_t *of)
{
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t name;
    } needed[] = {
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE},
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS},
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES},
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID},
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE},
        {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_OPS},
        {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH},
        {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE},
        {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE},
        {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG},
    };
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (needed[i].type == of->type && !find(of, needed[i].name))
            return false;
    return true;
}

// A row-major graph of one convolution: else there is no engine.
static bool has_engines(const descriptor_t *graph)
{
    const attribute_t *operations = find(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const descriptor_t *conv = child(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    return operations->count == 1 && is_f32(conv) &&
           conv->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR;
}

static cudnnStatus_t finalize(descriptor_t *of)
{
    of->is_final = true;
    if (of->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR &&
        !has_engines(child(of, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)))
        return CUDNN_STATUS_NOT_SUPPORTED_GRAPH_PATTERN;
    if (of->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const descriptor_t *configuration = child(of, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        return configuration && configuration->engine ? CUDNN_STATUS_SUCCESS
                                                      : CUDNN_STATUS_BAD_PARAM;
    }
    return CUDNN_STATUS_SUCCESS;
}

// The handle that a graph, what is asked about it or its plan is made with; NULL: none.
static cudnnHandle_t handle_of(const descriptor_t *of)
{
    cudnnHandle_t handle = NULL;
    if (of->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)
        of = child(of, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    const attribute_t *attribute = find(of, CUDNN_ATTR_OPERATIONGRAPH_HANDLE);
    if (!attribute)
        attribute = find(of, CUDNN_ATTR_EXECUTION_PLAN_HANDLE);
    if (attribute)
        memcpy(&handle, attribute->value, sizeof handle);
    return handle;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t opaque)
{
    FAKE_CALL();
    descriptor_t *of = opaque;
    if (of->is_final || !is_complete(of))
        return CUDNN_STATUS_BAD_PARAM;
    cudnnHandle_t handle = handle_of(of);
    if (handle)
        take(handle);
    cudnnStatus_t status = finalize(of);
    if (handle)
        give(handle);
    return status;
}

static void add_engine(descriptor_t *configuration, const descriptor_t *heuristic, int64_t engine)
{
    const attribute_t *graph = find(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    configuration->engine = engine;
    configuration->attributes[0] = *graph;
    configuration->attribute_count = 1;
    configuration->is_final = true;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t opaque,
    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t wanted,
    int64_t *out_count, void *values)
{
    FAKE_CALL();
    const descriptor_t *of = opaque;
    descriptor_t *made;
    cudnnBackendHeurMode_t mode;
    const int64_t workspace = WORKSPACE;
    cudnnBackendNumericalNote_t note;
    (void)type;
    *out_count = 1;
    if (!of->is_final || wanted < 1)
        return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        memcpy(&mode, find(of, CUDNN_ATTR_ENGINEHEUR_MODE)->value, sizeof mode);
        memcpy(&made, values, sizeof made);
        add_engine(made, of, mode == CUDNN_HEUR_MODE_FALLBACK ? 3 : 7);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        memcpy(&made, values, sizeof made);
        made->engine = of->engine;
        made->is_final = true;
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        note = of->engine == 7 ? CUDNN_NUMERICAL_NOTE_TENSOR_CORE : CUDNN_NUMERICAL_NOTE_FFT;
        for (int64_t i = 0; i < wanted; i++)
            memcpy((char *)values + i * (int64_t)sizeof note, &note, sizeof note);
        *out_count = wanted + 1000; // a newer one knows more notes than there is room for
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        memcpy(values, &of->engine, sizeof of->engine);
        return CUDNN_STATUS_SUCCESS;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        memcpy(values, &workspace, sizeof workspace);
        return CUDNN_STATUS_SUCCESS;
    default:
        return CUDNN_STATUS_NOT_SUPPORTED;
    }
}

// ---- Computing ----------------------------------------------------------------------------------

static void convolve_one(const conv_t *conv, int64_t image, int64_t channel)
{
    int64_t group_inputs = conv->w[1], outputs_per_group = conv->w[0] * group_inputs / conv->x[1];
    int64_t first_input = channel / outputs_per_group * group_inputs;
    const float *w = conv->w_data + channel * group_inputs * conv->w[2] * conv->w[3];
    float *y = conv->y_data + (image * conv->y[1] + channel) * conv->y[2] * conv->y[3];
    for (int64_t row = 0; row < conv->y[2]; row++)
        for (int64_t column = 0; column < conv->y[3]; column++) {
            double sum = 0;
            for (int64_t c = 0; c < group_inputs; c++)
                for (int64_t i = 0; i < conv->w[2]; i++)
                    for (int64_t j = 0; j < conv->w[3]; j++) {
                        int64_t at_row =
                            row * conv->strides[0] + i * conv->dilations[0] - conv->before[0];
                        int64_t at_column =
                            column * conv->strides[1] + j * conv->dilations[1] - conv->before[1];
                        if (at_row < 0 || at_row >= conv->x[2] || at_column < 0 ||
                            at_column >= conv->x[3])
                            continue;
                        int64_t plane = image * conv->x[1] + first_input + c;
                        float x =
                            conv->x_data[(plane * conv->x[2] + at_row) * conv->x[3] + at_column];
                        sum += (double)x * (double)w[(c * conv->w[2] + i) * conv->w[3] + j];
                    }
            y[row * conv->y[3] + column] = (float)sum;
        }
}

static void run_conv(const void *data)
{
    const conv_t *conv = data;
    memset(conv->workspace, 0xff, WORKSPACE); // it is there to be written
    for (int64_t image = 0; image < conv->y[0]; image++)
        for (int64_t channel = 0; channel < conv->y[1]; channel++)
            convolve_one(conv, image, channel);
}

static void read_numbers(
    const descriptor_t *of, cudnnBackendAttributeName_t name, int64_t *out, size_t count)
{
    const attribute_t *attribute = find(of, name);
    if (!attribute)
        abort();
    memcpy(out, attribute->value, count * sizeof *out);
}

static void *pointer_of(const descriptor_t *pack, const descriptor_t *tensor)
{
    const attribute_t *uids = find(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const attribute_t *pointers = find(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    int64_t wanted, uid, alignment;
    void *pointer = NULL;
    read_numbers(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, &wanted, 1);
    for (int64_t i = 0; i < uids->count; i++) {
        memcpy(&uid, uids->value + 8 * i, sizeof uid);
        if (uid == wanted)
            memcpy(&pointer, pointers->value + 8 * i, sizeof pointer);
    }
    read_numbers(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, &alignment, 1);
    return (uintptr_t)pointer % (uintptr_t)alignment ? NULL : pointer;
}

// What the graph of a plan asks for, with the pack's pointers.
static void read_graph(const descriptor_t *graph, const descriptor_t *pack, conv_t *conv)
{
    const descriptor_t *at = child(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS);
    const descriptor_t *x = child(at, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X);
    const descriptor_t *w = child(at, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W);
    const descriptor_t *y = child(at, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
    const descriptor_t *how = child(at, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
    read_numbers(x, CUDNN_ATTR_TENSOR_DIMENSIONS, conv->x, 4);
    read_numbers(w, CUDNN_ATTR_TENSOR_DIMENSIONS, conv->w, 4);
    read_numbers(y, CUDNN_ATTR_TENSOR_DIMENSIONS, conv->y, 4);
    read_numbers(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, conv->before, 2);
    read_numbers(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, conv->strides, 2);
    read_numbers(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, conv->dilations, 2);
    conv->x_data = pointer_of(pack, x);
    conv->w_data = pointer_of(pack, w);
    conv->y_data = pointer_of(pack, y);
}

static cudnnStatus_t execute(cudnnHandle_t handle, descriptor_t *plan, const descriptor_t *pack)
{
    const descriptor_t *configuration = child(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
    const descriptor_t *graph = child(configuration, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    conv_t conv = {.workspace = NULL};
    if (!plan->is_final || !pack->is_final || !graph)
        return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    read_graph(graph, pack, &conv);
    const attribute_t *workspace = find(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    memcpy(&conv.workspace, workspace->value, sizeof conv.workspace);
    if (!conv.x_data || !conv.w_data || !conv.y_data || !conv.workspace)
        return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
    if (!plan->is_loaded && fake_cuda_load_code() != 0)
        return CUDNN_STATUS_EXECUTION_FAILED;
    plan->is_loaded = true;
    return fake_cuda_enqueue(handle->stream, run_conv, &conv, sizeof conv) == 0
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_EXECUTION_FAILED;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan_opaque,
    cudnnBackendDescriptor_t pack_opaque)
{
    FAKE_CALL();
    take(handle);
    cudnnStatus_t status = execute(handle, plan_opaque, pack_opaque);
    give(handle);
    return status;
}
