// Which kernels this machine can run, and which of them the option "isa" asks for.
//
// No state: asked at every prepare(), which costs a few string comparisons.
#include <string.h>

#include "backends/cpu/cpu.h"

static int has_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

static int has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

const weir_k_table_t *weir_cpu_isa_table(const weir_host_t *host)
{
    const char *isa = host->option ? host->option(host, "isa") : NULL;
    const int any = !isa || !strcmp(isa, "auto");
    if (has_avx512() && (any || !strcmp(isa, "avx512")))
        return &weir_k_table__avx512;
    if (has_avx2() && (any || !strcmp(isa, "avx2")))
        return &weir_k_table__avx2;
    return any || !strcmp(isa, "plain") ? &weir_k_table__plain : NULL;
}
