// tests/cuda/fake_faults_test.c: each place where the plugin calls the driver, cuBLASLt, cuDNN or
// NVRTC succeeds, and fails.
//
// A place is found by the address that a fake was called from, so none can be forgotten that the
// plays below come by. Each is then made to fail, with what the library says when memory is short
// and with what it says when the device is gone. The engine's answer must be the right values, or
// an error that says whose move it is; what was made must be gone afterwards. The places are
// printed.
#include "tests/cuda/fake_engine.h"

#include <sched.h>

#define ROWS 2
#define SITES_MAX 512
#define SPINS 4000 // for the recorder's thread, which needs some turns

static float inputs[ROWS * 2 * FAKE_SIDE * FAKE_SIDE], wanted[ROWS * FAKE_CLASSES];

typedef struct play {
    const char *options;
    bool is_profiled;
    // A call that fails from the first one on, so that the ways of failing are come by; how the
    // play then ends.
    const char *failing;
    int result;
    weir_code_t ends;
} play_t;

static const play_t plays[] = {
    {"cuda.chunk_mib=2,cuda.budget_mib=64", true, NULL, 0, WEIR_OK},
    {"cuda.mapping=0,cuda.graphs=1,cuda.peer=1", false, NULL, 0, WEIR_OK},
    {"", false, "nvrtcCompileProgram", 6 /* COMPILATION */, WEIR_INTERNAL},
    {"", false, "nvrtcCreateProgram", 11 /* INTERNAL_ERROR */, WEIR_INTERNAL},
    {"", false, "cublasLtMatmulAlgoGetHeuristic", 14 /* INTERNAL_ERROR */, WEIR_OK},
    {"", false, "cudnnCreate", 1002 /* NOT_INITIALIZED */, WEIR_OK},
    {"", false, "cublasLtCreate", 1 /* NOT_INITIALIZED */, WEIR_OK},
    {"cuda.graphs=0", false, "cudnnBackendFinalize", 4000 /* INTERNAL_ERROR */, WEIR_OK},
    {"", false, "cuEventRecord", 2 /* OUT_OF_MEMORY */, WEIR_RESOURCE_EXHAUSTED},
};

// Runs until a graph has been launched, or it is plain that none will be.
static weir_status_t run_often(world_t *world, bool is_profiled, bool must_launch)
{
    weir_run_options_t options = {.size = sizeof options, .profile_level = is_profiled};
    weir_value_t x = fake_value(inputs, ROWS), y;
    for (uint32_t i = 0; i < 12; i++) {
        y = weir_view();
        weir_status_t status = weir_session_run(world->session, &options, 1, &x, 1, &y);
        if (status)
            return status;
        if (!fake_is_near(&y, wanted, ROWS * FAKE_CLASSES))
            fail_msg("wrong values without an error");
        options.profile_level = 0;
    }
    for (uint32_t i = 0; i < SPINS && !fake_cuda_count("cuGraphInstantiateWithFlags"); i++)
        sched_yield();
    // Where one must be launched, it takes as many runs as the recorder is behind.
    const uint64_t until_ns = weir_now_ns() + 60 * UINT64_C(1000000000);
    for (uint32_t i = 0;
         i < 3 || (must_launch && !fake_cuda_count("cuGraphLaunch") && weir_now_ns() < until_ns);
         i++) {
        y = weir_view();
        weir_status_t status = weir_session_run(world->session, NULL, 1, &x, 1, &y);
        if (status)
            return status;
        if (!fake_is_near(&y, wanted, ROWS * FAKE_CLASSES))
            fail_msg("wrong values out of a graph");
        sched_yield();
    }
    return NULL;
}

// One play from the engine's start to its end. The code of what went wrong first; OK: nothing did.
static weir_code_t perform(const play_t *play, bool must_launch, char *out_text, size_t bytes)
{
    world_t world;
    if (play->failing)
        fake_cuda_fail(play->failing, FAKE_ALL, play->result);
    weir_status_t status = fake_start(&world, fake_graph(), "cuda", play->options);
    if (!status)
        status = run_often(&world, play->is_profiled, must_launch);
    weir_code_t code = weir_status_code(status);
    snprintf(out_text, bytes, "%s", status ? weir_status_message(status) : "");
    weir_status_free(status);
    world_close(&world);
    return code;
}

// What a fake's library says when memory is short, and when the device is gone.
static int result_of(const char *name, bool is_gone)
{
    if (strncmp(name, "cublas", 6) == 0)
        return is_gone ? 13 : 3; // EXECUTION_FAILED, ALLOC_FAILED
    if (strncmp(name, "cudnn", 5) == 0)
        return is_gone ? 5000 : 4003; // EXECUTION_FAILED, HOST_ALLOCATION_FAILED
    if (strncmp(name, "nvrtc", 5) == 0)
        return is_gone ? 11 : 1; // INTERNAL_ERROR, OUT_OF_MEMORY
    return is_gone ? 700 : 2;    // CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_OUT_OF_MEMORY
}

// May a play end so, with this fault?
static bool is_fair(const play_t *play, const char *name, bool is_gone, weir_code_t code)
{
    if (code == WEIR_OK || code == WEIR_UNAVAILABLE || code == play->ends)
        return true; // done without, or said before anything was made
    if (strncmp(name, "cuDevice", 8) == 0 && code == WEIR_NOT_FOUND)
        return true; // a device that cannot be asked is not listed; the log says why
    if (strncmp(name, "cuCtxPushCurrent", 16) == 0 && code == WEIR_DEVICE_LOST)
        return true; // the reaper's: nobody would ever hear of the end of anything
    if ((strcmp(name, "cuEventQuery") == 0 || strcmp(name, "cuStreamQuery") == 0) &&
        code == WEIR_DEVICE_LOST)
        return true; // what cannot be asked may still run
    // A compiler that fails is a defect of somebody's; without one, nothing generated is taken.
    if (strncmp(name, "nvrtc", 5) == 0)
        return code == WEIR_INTERNAL || code == WEIR_UNSUPPORTED ||
               (!is_gone && code == WEIR_RESOURCE_EXHAUSTED);
    return code == (is_gone ? WEIR_DEVICE_LOST : WEIR_RESOURCE_EXHAUSTED);
}

typedef struct place {
    uint32_t site, play;
    const char *name;
    uint64_t calls;
} place_t;

static uint32_t find_places(place_t places[SITES_MAX])
{
    uint32_t count = 0;
    bool is_known[SITES_MAX] = {false};
    for (uint32_t p = 0; p < sizeof plays / sizeof plays[0]; p++) {
        char text[256];
        fake_cuda_reset(2, 1);
        if (perform(&plays[p], !plays[p].failing, text, sizeof text) != plays[p].ends)
            fail_msg("play %u: %s", p, text);
        assert_int_equal(fake_cuda_alive(), 0);
        assert_true(plays[p].failing || fake_cuda_count("cuGraphLaunch") > 0);
        for (uint32_t s = 0; s < fake_cuda_site_count(); s++) {
            const void *from;
            place_t place = {.site = s, .play = p};
            place.name = fake_cuda_site(s, &place.calls, &from);
            if (is_known[s] || !place.calls)
                continue;
            is_known[s] = true;
            places[count++] = place;
        }
    }
    return count;
}

static void every_call_fails_once(void **state)
{
    static place_t places[SITES_MAX];
    uint32_t refused = 0, done_without = 0, unfair = 0;
    (void)state;
    uint32_t count = find_places(places);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t gone = 0; gone < 2; gone++) {
            const place_t *place = &places[i];
            char text[256];
            fake_cuda_reset(2, i + 2);
            fake_cuda_fail_site(place->site, result_of(place->name, gone));
            weir_code_t code = perform(&plays[place->play], false, text, sizeof text);
            fake_cuda_reset(2, 1);
            unfair += !is_fair(&plays[place->play], place->name, gone, code);
            if (!is_fair(&plays[place->play], place->name, gone, code))
                print_error("%s, site %u, fault %u: code %d: %s\n", place->name, place->site, gone,
                    code, text);
            // Without its context nothing can be freed but the context itself.
            const bool is_left =
                fake_cuda_alive() != 0 && strncmp(place->name, "cuCtxPushCurrent", 16) != 0;
            unfair += is_left;
            if (is_left)
                print_error("%s, site %u, fault %u: %u things are left (%s)\n", place->name,
                    place->site, gone, (unsigned)fake_cuda_alive(), text);
            refused += code != WEIR_OK;
            done_without += code == WEIR_OK;
            print_message("%-36s %5u calls, %s: %s\n", place->name, (unsigned)place->calls,
                gone ? "device gone" : "no memory", code == WEIR_OK ? "done without" : text);
            fake_cuda_forget();
        }
    print_message(
        "%u call sites, each succeeded and failed in 2 ways: %u errors, %u done without\n", count,
        refused, done_without);
    assert_int_equal(unfair, 0);
    assert_true(count >= 100);
}

int main(void)
{
    world_t world;
    weir_value_t y;
    fill_floats(inputs, sizeof inputs / sizeof inputs[0], 77);
    fake_cuda_reset(0, 1);
    weir_status_t status = fake_start(&world, fake_graph(), "cpu,ref", NULL);
    if (!status) {
        weir_value_t x = fake_value(inputs, ROWS);
        y = weir_view();
        status = weir_session_run(world.session, NULL, 1, &x, 1, &y);
    }
    if (status) {
        print_error("%s\n", weir_status_text(status));
        return 1;
    }
    memcpy(wanted, y.data, sizeof wanted);
    world_close(&world);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
