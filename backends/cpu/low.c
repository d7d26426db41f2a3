// Which bf16 and int8 kernels this machine can run, and which of them the option "isa" allows.
//
// AMX needs the operating system's leave, which is asked for each time: it costs a system call
// without effect from the second time on, and needs no state. Where it is refused (an old kernel, a
// thread with a small signal stack) the AVX-512 kernels do the same work.
#include "backends/cpu/low.h"

#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#if defined(__clang__)
#include <cpuid.h>
#endif
#include <sys/syscall.h>
#include <unistd.h>
#endif

static int has_vnni(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#else
    return 0;
#endif
}

#if defined(__x86_64__) && defined(__linux__)
// By the compiler's notes where it has them: under a hypervisor cpuid itself takes microseconds,
// and this is asked for each node of a new shape.
static int has_amx_instructions(void)
{
#if defined(__clang__)
    const unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, all = bf16 | tile | int8;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & all) == all;
#else
    return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
           __builtin_cpu_supports("amx-int8");
#endif
}
#endif

static int has_amx(void)
{
#if defined(__x86_64__) && defined(__linux__)
    const long request_permission = 0x1023, tile_data = 18;
    return has_amx_instructions() && syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return 0;
#endif
}

const weir_k_low_table_t *weir_cpu_low_table(const weir_host_t *host)
{
    const weir_k_table_t *table = weir_cpu_isa_table(host);
    const char *isa = host->option ? host->option(host, "isa") : NULL;
    if (table == &weir_k_table__avx512 && has_vnni())
        return (!isa || !strcmp(isa, "auto")) && has_amx() ? &weir_k_low_table__amx
                                                           : &weir_k_low_table__vnni;
    return table == &weir_k_table__avx512  ? &weir_k_low_table__avx512
           : table == &weir_k_table__avx2  ? &weir_k_low_table__avx2
           : table == &weir_k_table__plain ? &weir_k_low_table__plain
                                           : NULL;
}

int weir_cpu_has_bf16(void)
{
    return has_vnni();
}
