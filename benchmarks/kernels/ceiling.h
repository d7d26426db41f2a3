// What the benchmarks of kernels share: this thread's clock, and the most that it can compute and
// read.
#ifndef WEIR_BENCHMARKS_KERNELS_CEILING_H
#define WEIR_BENCHMARKS_KERNELS_CEILING_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define CHAINS 16
#define CEILING_STEPS 60000

// Of this thread's own work: what other processes of a shared machine take is not the kernel's.
static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Each returns the flops it has done. The sums go out, so that no compiler drops the loop.
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static inline double ceiling_avx512(float *out)
{
    __m512 sum[CHAINS];
    const __m512 a = _mm512_set1_ps(out[0]), b = _mm512_set1_ps(out[1]);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        sum[c] = _mm512_set1_ps((float)c);
    for (int i = 0; i < CEILING_STEPS; i++)
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++)
            sum[c] = _mm512_fmadd_ps(sum[c], a, b);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++)
        _mm512_storeu_ps(out + 16 * c, sum[c]);
    return 2.0 * 16 * CHAINS * CEILING_STEPS;
}

__attribute__((target("avx2,fma"))) static inline double ceiling_avx2(float *out)
{
    __m256 sum[12];
    const __m256 a = _mm256_set1_ps(out[0]), b = _mm256_set1_ps(out[1]);
#pragma GCC unroll 12
    for (int c = 0; c < 12; c++)
        sum[c] = _mm256_set1_ps((float)c);
    for (int i = 0; i < CEILING_STEPS; i++)
#pragma GCC unroll 12
        for (int c = 0; c < 12; c++)
            sum[c] = _mm256_fmadd_ps(sum[c], a, b);
#pragma GCC unroll 12
    for (int c = 0; c < 12; c++)
        _mm256_storeu_ps(out + 8 * c, sum[c]);
    return 2.0 * 8 * 12 * CEILING_STEPS;
}
#endif

static inline double ceiling_plain(float *out)
{
    float sum[CHAINS];
    const float a = out[0], b = out[1];
    for (int c = 0; c < CHAINS; c++)
        sum[c] = (float)c;
    for (int i = 0; i < CEILING_STEPS; i++)
        for (int c = 0; c < CHAINS; c++)
            sum[c] = sum[c] * a + b;
    for (int c = 0; c < CHAINS; c++)
        out[c] = sum[c];
    return 2.0 * CHAINS * CEILING_STEPS;
}

// The widest that the machine has, whatever the plugin is told to use.
static inline double ceiling_gflops(void)
{
    static float numbers[16 * CHAINS];
    numbers[0] = 0.5f;
    numbers[1] = 1.0f;
    const double start = seconds();
    double flops;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        flops = ceiling_avx512(numbers);
    else if (__builtin_cpu_supports("fma"))
        flops = ceiling_avx2(numbers);
    else
#endif
        flops = ceiling_plain(numbers);
    return flops / (seconds() - start) * 1e-9;
}

// ---- Reading -----------------------------------------------------------------------------------

#if defined(__x86_64__)
// Each of `ways` parts of the bytes from its own place on, side by side, each line asked for
// `ahead` lines before it is read.
__attribute__((target("avx512f"))) static inline void read_avx512(
    const char *from, size_t bytes, size_t ways, size_t ahead)
{
    __m512i all = _mm512_setzero_si512();
    const size_t part = bytes / ways / 128 * 128;
    for (size_t i = 0; i < part; i += 128)
        for (size_t way = 0; way < ways; way++) {
            const char *at = from + way * part + i;
            _mm_prefetch((const char *)((uintptr_t)at + ahead * 64), _MM_HINT_T0);
            _mm_prefetch((const char *)((uintptr_t)at + ahead * 64 + 64), _MM_HINT_T0);
            all = _mm512_xor_si512(all, _mm512_loadu_si512(at));
            all = _mm512_xor_si512(all, _mm512_loadu_si512(at + 64));
        }
    __asm__ volatile("" : : "v"(all));
}
#endif

static inline void read_plain(const char *from, size_t bytes)
{
    uint64_t sum[4] = {0}, word;
    for (size_t i = 0; i + 32 <= bytes; i += 32)
        for (size_t c = 0; c < 4; c++) {
            memcpy(&word, from + i + 8 * c, sizeof(word));
            sum[c] ^= word;
        }
    __asm__ volatile("" : : "r"(sum[0] ^ sum[1] ^ sum[2] ^ sum[3]));
}

// The fastest that this thread reads these bytes again and again, in GB/s, of a few ways to do it.
static inline double reading_gbytes(const void *from, size_t bytes)
{
    static const struct {
        size_t ways, ahead;
    } kinds[] = {{1, 0}, {1, 8}, {1, 32}, {2, 0}, {2, 16}, {4, 8}};
    double best = 0;
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        const double start = seconds();
        double done = 0;
        do {
#if defined(__x86_64__)
            if (__builtin_cpu_supports("avx512f"))
                read_avx512(from, bytes, kinds[kind].ways, kinds[kind].ahead);
            else
#endif
                read_plain(from, bytes);
            done += (double)bytes;
        } while (seconds() - start < 3e-4);
        const double rate = done / (seconds() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static inline int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

// lib/weir/weir_cpu.so of the build that this program lies in.
static inline const char *built_plugin(void)
{
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 64);
    path[length < 0 ? 0 : length] = '\0';
    for (int up = 0; up < 2; up++)
        if (strrchr(path, '/'))
            *strrchr(path, '/') = '\0';
    strcat(path, "/lib/weir/weir_cpu.so");
    return path;
}

#endif
