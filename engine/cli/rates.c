// See rates.h. Each loop is measured by its thread's own time, and the best of a few counts: what
// other processes take makes a loop slower, never faster.
#include "engine/cli/rates.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/cli/machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#endif

#define TRIES 5
#define TRY_SECONDS 0.02
#define MOST_BYTES (256u << 20)

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// One loop: does some work and returns how much. `room` is where its results go.
typedef double work_t(void *room, uint64_t bytes);

static double best_rate(work_t *work, void *room, uint64_t bytes)
{
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        const double begin = seconds();
        double done = 0, now = begin;
        while (now - begin < TRY_SECONDS) {
            done += work(room, bytes);
            now = seconds();
        }
        best = fmax(best, done / (now - begin) * 1e-9);
    }
    return best;
}

// ---- Loops -------------------------------------------------------------------------------------

#define STEPS 4000
#define CHAINS 12

static double clock_work(void *room, uint64_t bytes)
{
    uint64_t x = bytes, y = bytes;
    __asm__ volatile("" : "+r"(y));
    for (int i = 0; i < STEPS; i++) {
        // One after the other, not of a number that the instruction holds: processors do that in
        // no time.
#define ADD                                                                                        \
    x += y;                                                                                        \
    __asm__ volatile("" : "+r"(x));
        ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD ADD
#undef ADD
    }
    memcpy(room, &x, sizeof(x));
    return 16.0 * STEPS;
}

static double f32_plain(void *room, uint64_t bytes)
{
    float sum[CHAINS] = {0};
    const float a = (float)bytes * 1e-9f;
    for (int i = 0; i < STEPS; i++)
        for (int c = 0; c < CHAINS; c++)
            sum[c] = sum[c] * a + a;
    memcpy(room, sum, sizeof(sum));
    return 2.0 * CHAINS * STEPS;
}

static double read_plain(void *room, uint64_t bytes)
{
    const uint64_t *from = room;
    uint64_t sum[4] = {0};
    for (uint64_t i = 0; i + 4 <= bytes / sizeof(*from); i += 4)
        for (int c = 0; c < 4; c++)
            sum[c] ^= from[i + (uint64_t)c];
    __asm__ volatile("" : : "r"(sum[0] ^ sum[1] ^ sum[2] ^ sum[3]));
    return (double)bytes;
}

#if defined(__x86_64__)
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

// CHAINS chains of one instruction; `keep` hides from the compiler that they are all alike.
#define CHAIN_WORK(name, isa, type, zero, step, count)                                             \
    __attribute__((target(isa))) static double name(void *room, uint64_t bytes)                    \
    {                                                                                              \
        type sum[CHAINS], a = zero, b = zero;                                                      \
        (void)bytes;                                                                               \
        UNROLL for (int c = 0; c < CHAINS; c++) sum[c] = zero;                                     \
        for (int i = 0; i < STEPS; i++) {                                                          \
            UNROLL for (int c = 0; c < CHAINS; c++)                                                \
            {                                                                                      \
                sum[c] = step;                                                                     \
                __asm__ volatile("" : "+v"(sum[c]));                                               \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (int c = 1; c < CHAINS; c++) memcpy(room, &sum[c], sizeof(sum[c]));             \
        return (double)(count)*CHAINS * STEPS;                                                     \
    }
CHAIN_WORK(f32_avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_fmadd_ps(sum[c], a, b), 32)
CHAIN_WORK(f32_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_fmadd_ps(sum[c], a, b), 16)
CHAIN_WORK(bf16_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(),
    _mm512_dpbf16_ps(sum[c], (__m512bh)a, (__m512bh)b), 64)
CHAIN_WORK(int8_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(),
    _mm512_dpbusd_epi32(sum[c], a, b), 128)

__attribute__((target("avx2"))) static double read_avx2(void *room, uint64_t bytes)
{
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
        _mm256_setzero_si256()};
    const __m256i *from = room;
    for (uint64_t i = 0; i + 4 <= bytes / sizeof(*from); i += 4)
        for (uint64_t c = 0; c < 4; c++)
            sum[c] = _mm256_xor_si256(sum[c], _mm256_loadu_si256(from + i + c));
    const __m256i all =
        _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    __asm__ volatile("" : : "x"(all));
    return (double)bytes;
}

typedef struct tile_config {
    unsigned char palette, start_row, reserved[14];
    unsigned short column_bytes[16];
    unsigned char rows[16];
} tile_config_t;

#define AMX "amx-tile,amx-bf16,amx-int8"
#define TILE_WORK(name, dot, count)                                                                \
    __attribute__((target(AMX))) static double name(void *room, uint64_t bytes)                    \
    {                                                                                              \
        tile_config_t config = {.palette = 1};                                                     \
        for (int i = 0; i < 8; i++) {                                                              \
            config.column_bytes[i] = 64;                                                           \
            config.rows[i] = 16;                                                                   \
        }                                                                                          \
        (void)bytes;                                                                               \
        memset(room, 0, 4096);                                                                     \
        _tile_loadconfig(&config);                                                                 \
        _tile_loadd(4, room, 64);                                                                  \
        _tile_loadd(5, (char *)room + 1024, 64);                                                   \
        _tile_loadd(6, (char *)room + 2048, 64);                                                   \
        _tile_loadd(7, (char *)room + 3072, 64);                                                   \
        _tile_zero(0);                                                                             \
        _tile_zero(1);                                                                             \
        _tile_zero(2);                                                                             \
        _tile_zero(3);                                                                             \
        for (int i = 0; i < STEPS / 4; i++) {                                                      \
            dot(0, 4, 6);                                                                          \
            dot(1, 4, 7);                                                                          \
            dot(2, 5, 6);                                                                          \
            dot(3, 5, 7);                                                                          \
        }                                                                                          \
        _tile_stored(0, room, 64);                                                                 \
        _tile_release();                                                                           \
        return (double)(count)*STEPS;                                                              \
    }
TILE_WORK(bf16_amx, _tile_dpbf16ps, 2 * 16 * 16 * 32)
TILE_WORK(int8_amx, _tile_dpbusd, 2 * 16 * 16 * 64)

static bool has_amx(void)
{
    const long request_permission = 0x1023, tile_data = 18;
    const unsigned all = 1u << 22 | 1u << 24 | 1u << 25; // bf16, tiles, int8
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & all) == all &&
           syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#endif

// ---- Measuring ---------------------------------------------------------------------------------

static void products_measure(weir__cli_rates_t *rates, void *room)
{
    const char *floats = "plain C", *lower = "";
    work_t *f32 = f32_plain, *bf16 = NULL, *int8 = NULL;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        f32 = f32_avx512;
        floats = "AVX-512";
    } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        f32 = f32_avx2;
        floats = "AVX2";
    }
    if (__builtin_cpu_supports("avx512bf16"))
        bf16 = bf16_avx512;
    if (__builtin_cpu_supports("avx512vnni")) {
        int8 = int8_avx512;
        lower = bf16 ? ", bf16, VNNI" : ", VNNI";
    }
    if (has_amx()) {
        bf16 = bf16_amx;
        int8 = int8_amx;
        lower = ", AMX";
    }
#endif
    (void)snprintf(rates->products, sizeof(rates->products), "%s%s", floats, lower);
    rates->f32_gflops = best_rate(f32, room, 1);
    rates->bf16_gflops = bf16 ? best_rate(bf16, room, 1) : 0;
    rates->int8_gops = int8 ? best_rate(int8, room, 1) : 0;
    rates->clock_ghz = best_rate(clock_work, room, 1);
}

static uint64_t cache_bytes(int name)
{
    const long bytes = sysconf(name);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static double read_rate(uint64_t bytes)
{
    void *room = bytes ? malloc(bytes) : NULL;
    work_t *work = read_plain;
    if (!room)
        return 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        work = read_avx2;
#endif
    memset(room, 1, bytes); // pages that were never written are all one page
    const double rate = best_rate(work, room, bytes);
    free(room);
    return rate;
}

static void reading_measure(weir__cli_rates_t *rates)
{
    const uint64_t l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE), l3 = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
    const uint64_t in_cache = l3 / 2 < 4 * l2 ? l3 / 2 : 4 * l2;
    if (l2 && l3 && in_cache > l2)
        rates->cache_gb_per_s = read_rate(in_cache);
    if (l3 && 2 * l3 <= MOST_BYTES)
        rates->memory_gb_per_s = read_rate(2 * l3 > 64u << 20 ? 2 * l3 : 64u << 20);
}

// ---- Keeping -----------------------------------------------------------------------------------

// Where the engine keeps its own. false: nowhere.
static bool file_path(char *path, size_t path_bytes, bool makes_folder)
{
    const char *own = secure_getenv("WEIR_CACHE_DIR"), *xdg = secure_getenv("XDG_CACHE_HOME");
    const char *home = secure_getenv("HOME");
    char folder[3072];
    int length;
    if (own && *own)
        length = snprintf(folder, sizeof(folder), "%s", own);
    else if (xdg && *xdg)
        length = snprintf(folder, sizeof(folder), "%s/weir", xdg);
    else if (home && *home)
        length = snprintf(folder, sizeof(folder), "%s/.cache/weir", home);
    else
        return false;
    if (length < 0 || (size_t)length >= sizeof(folder))
        return false;
    if (makes_folder && mkdir(folder, 0700) != 0 && errno != EEXIST)
        return false;
    length = snprintf(path, path_bytes, "%s/rates", folder);
    return length > 0 && (size_t)length < path_bytes;
}

#define HEAD "weir rates 1\n"

static bool load(const weir__cli_machine_t *machine, weir__cli_rates_t *rates)
{
    char path[4096], line[256];
    FILE *file = file_path(path, sizeof(path), false) ? fopen(path, "re") : NULL;
    if (!file)
        return false;
    bool is_known = fgets(line, sizeof(line), file) && strcmp(line, HEAD) == 0 &&
                    fgets(line, sizeof(line), file) &&
                    strncmp(line, machine->cpu, strlen(machine->cpu)) == 0 &&
                    line[strlen(machine->cpu)] == '\n' && fgets(line, sizeof(line), file);
    if (is_known) {
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(rates->products, sizeof(rates->products), "%.*s",
            (int)sizeof(rates->products) - 1, line);
        double *const numbers[] = {&rates->f32_gflops, &rates->bf16_gflops, &rates->int8_gops,
            &rates->clock_ghz, &rates->cache_gb_per_s, &rates->memory_gb_per_s};
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && is_known; i++) {
            char *end = line;
            is_known = fgets(line, sizeof(line), file) != NULL;
            *numbers[i] = is_known ? strtod(line, &end) : 0;
            is_known &= end != line && *numbers[i] >= 0 && *numbers[i] < 1e9;
        }
    }
    (void)fclose(file);
    return is_known;
}

// What cannot be kept is measured again.
static void save(const weir__cli_machine_t *machine, const weir__cli_rates_t *rates)
{
    char path[4096], made[4160];
    if (!file_path(path, sizeof(path), true))
        return;
    (void)snprintf(made, sizeof(made), "%s.%ld", path, (long)getpid());
    FILE *file = fopen(made, "we");
    if (!file)
        return;
    const int printed = fprintf(file, HEAD "%s\n%s\n%.6g\n%.6g\n%.6g\n%.6g\n%.6g\n%.6g\n",
        machine->cpu, rates->products, rates->f32_gflops, rates->bf16_gflops, rates->int8_gops,
        rates->clock_ghz, rates->cache_gb_per_s, rates->memory_gb_per_s);
    if (fclose(file) != 0 || printed < 0 || rename(made, path) != 0)
        (void)unlink(made);
}

void weir__cli_rates_get(weir__cli_rates_t *out_rates)
{
    weir__cli_machine_t machine;
    weir__cli_machine_read(&machine);
    memset(out_rates, 0, sizeof(*out_rates));
    if (load(&machine, out_rates))
        return;
    memset(out_rates, 0, sizeof(*out_rates));
    void *room = aligned_alloc(64, 4096);
    if (!room)
        return;
    products_measure(out_rates, room);
    free(room);
    reading_measure(out_rates);
    save(&machine, out_rates);
}

double weir__cli_rates_least_ns(const weir__cli_rates_t *rates, uint32_t threads,
    const char *kernel, uint64_t flop, uint64_t bytes)
{
    const bool is_bf16 = strstr(kernel, "bf16") != NULL;
    const bool is_int8 = strstr(kernel, "int8") != NULL || strstr(kernel, "integer") != NULL;
    const double most = !flop     ? rates->cache_gb_per_s
                        : is_bf16 ? rates->bf16_gflops
                        : is_int8 ? rates->int8_gops
                                  : rates->f32_gflops;
    return most > 0 ? (double)(flop ? flop : bytes) / (most * (double)threads) : 0;
}
