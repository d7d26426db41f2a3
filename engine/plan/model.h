// engine/plan/model.h: a loaded model as the stages after loading see it.
#ifndef WEIR_PLAN_MODEL_H
#define WEIR_PLAN_MODEL_H

#include "engine/base/hash.h"
#include "engine/graph/graph.h"
#include "engine/plan/runtime.h"
#include <weir/model.h>

struct weir_model {
    atomic_uint references;
    weir__runtime_t *runtime;
    weir__graph_t *graph;   // verified, typed, simplified; immutable from here on
    weir__source_t *source; // keeps the constants' memory
    weir__hash_t digest;
    char label[128]; // the file name, for messages
    weir_model_info_t info;
    weir_tally_t *operators;
    uint32_t operator_count;
    weir_tally_t *rewrites; // the graph's, sorted by name
    bool *counted;          // while parameters are counted
};

#endif
