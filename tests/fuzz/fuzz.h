// tests/fuzz/fuzz.h: what fuzz targets share.
//
// A target is one function that takes bytes. clang's fuzzer calls it with bytes that it makes up;
// replay.c calls it with the committed corpus, with any compiler.
#ifndef WEIR_FUZZ_FUZZ_H
#define WEIR_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <weir/weir.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

// One engine for all calls, made by the first: one thread, no cache, small limits. plugins: a
// folder or file of plugins; "": the plain C device alone.
weir_engine_t *fuzz_engine(const char *plugins);

// A defect planted on purpose, to show that the fuzzer finds such a one: reads the byte behind the
// input when `reached`. Does nothing unless the target is built with WEIR_FUZZ_PLANT.
void fuzz_plant(int reached, const uint8_t *data, size_t bytes);

#endif
