// tests/opencl/in_front.h: for tests that stand in front of the ICD loader: functions of its names
// that count, or fail, or hold back, and then call the loader's. The plugin's calls come here
// because the program exports them.
#ifndef WEIR_TEST_OPENCL_IN_FRONT_H
#define WEIR_TEST_OPENCL_IN_FRONT_H

#include "tests/opencl/device_world.h"

#include <CL/cl.h>
#include <dlfcn.h>

#define SHOWN __attribute__((visibility("default")))

// The loader's function of this name.
static inline void *in_front_of(const char *name)
{
    void *loader = dlopen("libOpenCL.so.1", RTLD_NOW);
    void *function = loader ? dlsym(loader, name) : NULL;
    if (!function)
        fail_msg("%s: there is no loader", name);
    return function;
}

// Fills in a pointer to the loader's function.
#define REAL(name, pointer)                                                                        \
    do {                                                                                           \
        void *address_ = in_front_of(name);                                                        \
        memcpy(&(pointer), &address_, sizeof address_);                                            \
    } while (0)

#endif
