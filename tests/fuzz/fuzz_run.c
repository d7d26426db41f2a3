// tests/fuzz/fuzz_run.c: all the way to the outputs of a run, on the plain C kernels.
#include "tests/fuzz/fuzz.h"

#include "tests/faults/subject.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    outcome_t outcome;
    subject_t subject = {.bytes = data,
        .byte_count = bytes,
        .limit_ns = 2000 * WEIR_MS,
        .fill = (int64_t)(bytes % 3)};
    subject_run(fuzz_engine(""), &subject, &outcome);
    fuzz_plant(outcome.code == WEIR_OK && outcome.output_bytes % 8 == 4, data, bytes);
    return 0;
}
