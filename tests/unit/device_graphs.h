// tests/unit/device_graphs.h: small models that cross the border of a device in every way.
#ifndef WEIR_UNIT_DEVICE_GRAPHS_H
#define WEIR_UNIT_DEVICE_GRAPHS_H

#include "tests/unit/engine_world.h"

#define SIDE 8

static inline message_t start_device_graph(void)
{
    static const int64_t dims[] = {SIDE, SIDE};
    float w[SIDE * SIDE], v[SIDE * SIDE];
    message_t graph = {0};
    fill_floats(w, SIDE * SIDE, 3);
    fill_floats(v, SIDE * SIDE, 4);
    add_input(&graph, "x", 1, "N,8");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    put_message(&graph, 5, raw_tensor("v", 1, 2, dims, v, sizeof v));
    return graph;
}

// Two products, an elementwise tail, and Softmax between them, which a device may be told to
// refuse.
static inline message_t graph_chain(void)
{
    message_t graph = start_device_graph();
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Softmax", "soft", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "b,v", "c", (message_t){0});
    add_node(&graph, "Add", "sum", "c,x", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Values that the device, the host and the caller all read; an output that is an input; one that
// is made twice over.
static inline message_t graph_shared(void)
{
    message_t graph = start_device_graph();
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Softmax", "soft", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "a,v", "c", (message_t){0});
    add_node(&graph, "MatMul", "third", "b,w", "d", (message_t){0});
    add_node(&graph, "Add", "sum", "c,d", "y", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "a");
    add_output(&graph, "b");
    return graph;
}

// Views of what the device made, of what the host made and of the input, read on both sides.
static inline message_t graph_views(void)
{
    static const int64_t fours[] = {-1, 4}, eights[] = {-1, SIDE};
    message_t graph = start_device_graph(), rows = {0};
    add_int64s(&graph, "fours", 2, fours);
    add_int64s(&graph, "eights", 2, eights);
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Reshape", "narrow", "a,fours", "b", (message_t){0});
    add_node(&graph, "Softmax", "rows", "b", "c", rows);
    add_node(&graph, "Reshape", "wide", "c,eights", "d", (message_t){0});
    add_node(&graph, "MatMul", "second", "d,v", "e", (message_t){0});
    add_node(&graph, "Reshape", "narrow2", "e,fours", "g", (message_t){0});
    add_node(&graph, "Softmax", "soft", "g", "h", (message_t){0});
    add_node(&graph, "Reshape", "wide2", "h,eights", "i", (message_t){0});
    add_node(&graph, "MatMul", "third", "i,w", "y", (message_t){0});
    add_node(&graph, "Reshape", "input", "x,fours", "z", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "g");
    add_output(&graph, "z");
    return graph;
}

// A node of several outputs, one of which nobody wants.
static inline message_t graph_outputs(void)
{
    static const int64_t sizes[] = {2, 4, 2};
    message_t graph = start_device_graph(), axis = {0}, join = {0};
    add_int64s(&graph, "sizes", 3, sizes);
    attribute_int(&axis, "axis", 1);
    attribute_int(&join, "axis", 1);
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Split", "split", "a,sizes", "p,q,r", axis);
    add_node(&graph, "Softmax", "soft", "p", "s", (message_t){0});
    add_node(&graph, "Concat", "join", "s,q,s", "t", join);
    add_node(&graph, "MatMul", "second", "t,v", "y", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "q");
    return graph;
}

// A branch by data, with work for the device before, in and behind the branches.
static inline message_t graph_branch(void)
{
    message_t graph = start_device_graph(), then = {0}, other = {0}, branches = {0}, keep = {0};
    attribute_int(&keep, "keepdims", 0);
    put_message(&graph, 5, raw_tensor("zero", 1, 0, NULL, &(float){0}, 4));
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "ReduceSum", "total", "x", "t", keep);
    add_node(&graph, "Greater", "is", "t,zero", "cond", (message_t){0});
    add_node(&then, "MatMul", "left", "a,v", "l0", (message_t){0});
    add_node(&then, "Tanh", "left2", "l0", "l", (message_t){0});
    add_output(&then, "l");
    add_node(&other, "MatMul", "right", "a,w", "r", (message_t){0});
    add_output(&other, "r");
    attribute_graph(&branches, "then_branch", then);
    attribute_graph(&branches, "else_branch", other);
    add_node(&graph, "If", "if", "cond", "f", branches);
    add_node(&graph, "MatMul", "second", "f,v", "g", (message_t){0});
    add_node(&graph, "Add", "sum", "g,a", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// A size that is data, of what the device made; more for it behind that.
static inline message_t graph_sizes(void)
{
    static const float shape[] = {-1, 4};
    message_t graph = start_device_graph(), keep = {0}, to = {0};
    attribute_int(&keep, "keepdims", 0);
    attribute_int(&to, "to", 7);
    put_message(&graph, 5, raw_tensor("zero", 1, 0, NULL, &(float){0}, 4));
    add_floats(&graph, "shape", 2, shape);
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "ReduceSum", "total", "x", "t", keep);
    add_node(&graph, "Mul", "nothing", "t,zero", "n", (message_t){0});
    add_node(&graph, "Add", "sizes", "n,shape", "s", (message_t){0});
    add_node(&graph, "Cast", "whole", "s", "i", to);
    add_node(&graph, "MatMul", "second", "a,v", "b", (message_t){0});
    add_node(&graph, "Reshape", "fours", "b,i", "c", (message_t){0});
    add_node(&graph, "Softmax", "rows", "c", "d", (message_t){0});
    add_node(&graph, "Softmax", "soft", "d", "e", (message_t){0});
    add_node(&graph, "Exp", "exp", "e", "y", (message_t){0});
    add_node(&graph, "MatMul", "third", "a,w", "z", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "z");
    return graph;
}

typedef struct device_graph {
    const char *name;
    message_t (*make)(void);
    size_t output_count;
    const char *placement; // what is worth no copy to anybody but a test
} device_graph_t;

static const device_graph_t device_graphs[] = {
    {"chain", graph_chain, 1, "first=chaos;second=chaos"},
    {"shared", graph_shared, 3, "first=chaos;second=chaos;third=chaos"},
    {"views", graph_views, 3, "first=chaos;second=chaos;third=chaos"},
    {"outputs", graph_outputs, 2, "first=chaos;second=chaos"},
    {"branch", graph_branch, 1, "first=chaos;left=chaos;right=chaos;second=chaos"},
    {"sizes", graph_sizes, 2, "first=chaos;second=chaos;third=chaos;exp=chaos"},
};
#define DEVICE_GRAPHS (sizeof device_graphs / sizeof device_graphs[0])

#endif
