// How far one tensor is from another.
#ifndef WEIR_CLI_DIFFER_H
#define WEIR_CLI_DIFFER_H

#include <stdbool.h>
#include <weir/value.h>

typedef struct weir__cli_tolerance {
    double relative, absolute;
} weir__cli_tolerance_t;

typedef struct weir__cli_difference {
    bool is_comparable; // same dtype and dims, and a dtype of numbers
    bool is_different;  // some element is further off than allowed
    uint64_t index;     // of the element that is furthest off, measured by what is allowed
    double want, got;   // that element
    double error;       // largest |got - want|; Inf when one of them alone is NaN
    // Largest |got - want| / (absolute + relative * size), size being |want| or the root mean
    // square of the tensor, whichever is larger: an element that is a difference of large ones is
    // no better than those.
    double share;
} weir__cli_difference_t;

// NaN equals NaN, and an infinity itself. Integers and bools must be equal.
weir__cli_difference_t weir__cli_differ(
    const weir_value_t *want, const weir_value_t *got, const weir__cli_tolerance_t *tolerance);

#endif
