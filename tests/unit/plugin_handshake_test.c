// tests/unit/plugin_handshake_test.c: which plugins are taken, why others are not, their options.
//
// The plugins are in tests/support/plugins: one per reason, and one that a beginner would write.
#include "tests/unit/engine_world.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- A folder of plugins -----------------------------------------------------------------------

typedef struct folder {
    char path[200];
} folder_t;

static void folder_begin(folder_t *folder)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder->path, sizeof folder->path, "%s/weir-plugins-XXXXXX",
        base && base[0] ? base : P_tmpdir);
    assert_non_null(mkdtemp(folder->path));
}

static void folder_put(const folder_t *folder, const char *name, const char *from, mode_t mode)
{
    char path[512], bytes[4096];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    FILE *to = fopen(path, "wb"), *source = from ? fopen(from, "rb") : NULL;
    assert_non_null(to);
    size_t count;
    while (source && (count = fread(bytes, 1, sizeof bytes, source)) > 0)
        assert_int_equal(fwrite(bytes, 1, count, to), count);
    if (source)
        fclose(source);
    else
        fputs("no plugin\n", to);
    fclose(to);
    assert_int_equal(chmod(path, mode), 0);
}

static void folder_end(const folder_t *folder)
{
    DIR *directory = opendir(folder->path);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder->path, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(directory);
    rmdir(folder->path);
}

// ---- Refusals ----------------------------------------------------------------------------------

static weir_device_description_t describe(const weir_engine_t *engine, uint32_t index)
{
    weir_device_description_t device = {.size = sizeof device};
    expect_ok(weir_device_describe(engine, index, &device));
    return device;
}

// The engine comes up with ref alone, and lists the plugin with this reason.
static void expect_refusal(const char *path, const char *name, const char *reason)
{
    world_t world;
    world_options_t options = {.plugin_path = path};
    expect_ok(world_engine(&world, &options));
    assert_int_equal(weir_device_count(world.engine), 2);
    assert_string_equal(describe(world.engine, 0).name, "ref");
    weir_device_description_t device = describe(world.engine, 1);
    assert_false(device.usable);
    assert_string_equal(device.name, name);
    assert_string_equal(device.text, reason);
    assert_string_equal(device.path, path);
    world_close(&world);
}

static void expect_misfit(const char *reason_name, const char *name, const char *reason)
{
    char path[512];
    snprintf(path, sizeof path, WORLD_MISFITS "/weir_%s.so", reason_name);
    assert_int_equal(access(path, R_OK), 0);
    expect_refusal(path, name, reason);
}

// Goal:   each thing that can be wrong with a plugin is named; the engine works all the same.
static void handshake_refuses(void **state)
{
    (void)state;
    char hash[200];
    snprintf(hash, sizeof hash,
        "built from another weir/plugin.h (hash %016llx, this engine has %016llx): rebuild it "
        "against this version",
        (unsigned long long)(WEIR_PLUGIN_HEADER_HASH ^ 1),
        (unsigned long long)WEIR_PLUGIN_HEADER_HASH);
    expect_misfit("hash", "hash", hash);
    expect_misfit("symbol", "symbol", "not a weir plugin: it does not export weir_plugin_v0");
    expect_misfit("silent", "silent", "weir_plugin_v0 gave no table: it does not say why");
    expect_misfit("reason", "reason", "weir_plugin_v0 gave no table: no luck on day 7");
    expect_misfit("name", "name", "its name must be 1 to 31 characters of a-z, 0-9 and _");
    expect_misfit("long", "long", "its name must be 1 to 31 characters of a-z, 0-9 and _");
    expect_misfit("twin", "ref", "another plugin named \"ref\" was found first");
    expect_misfit("probe", "misfit", "needs a machine with three suns");
    char text[160];
    snprintf(text, sizeof text, "its table of kernels is malformed (3 at no address, stride %zu)",
        sizeof(weir_kernel_t));
    expect_misfit("nowhere", "misfit", text);
    snprintf(text, sizeof text, "kernel 0 of its table is malformed (size %zu, stride %zu)",
        sizeof(weir_kernel_t), sizeof(weir_kernel_t));
    expect_misfit("kernel", "misfit", text);
    snprintf(text, sizeof text, "kernel 0 of its table is malformed (size %zu, stride %zu)",
        sizeof(weir_kernel_t), sizeof(weir_kernel_t) - 8);
    expect_misfit("stride", "misfit", text);
    snprintf(text, sizeof text, "option 1 of its table is malformed (size %zu, stride %zu)",
        sizeof(weir_option_t), sizeof(weir_option_t));
    expect_misfit("option", "misfit", text);
    expect_misfit("memory", "misfit",
        "X: its table has neither execute() nor compile(), specialize() and launch()");
}

static void count_goodbyes(
    void *user, weir_log_level_t level, const char *module, uint64_t request_id, const char *text)
{
    (void)level, (void)module, (void)request_id;
    *(int *)user += strcmp(text, "misfit: goodbye") == 0;
}

// How often the plugin WORLD_MISFITS/weir_<reason>.so is shut down with its engine.
static int goodbyes_of(const char *reason_name)
{
    char path[512];
    int count = 0;
    weir_engine_t *engine;
    snprintf(path, sizeof path, WORLD_MISFITS "/weir_%s.so", reason_name);
    weir_engine_options_t options = {.size = sizeof options,
        .threads = 1,
        .cache_dir = "",
        .plugin_path = path,
        .log = count_goodbyes,
        .log_user_data = &count,
        .log_level = WEIR_LOG_INFO};
    expect_ok(weir_engine_create(&options, &engine));
    assert_int_equal(count, 0);
    weir_engine_free(engine);
    return count;
}

// Goal:   who gave its table is shut down once, also when it was refused after that; whose table is
//         of another header, or was never given, is not called.
static void refused_plugins_are_shut_down(void **state)
{
    (void)state;
    static const char *const greeted[] = {"twin", "probe", "name", "kernel", "option", "memory"};
    static const char *const strangers[] = {"hash", "silent", "reason", "symbol"};
    for (size_t i = 0; i < sizeof greeted / sizeof greeted[0]; i++)
        assert_int_equal(goodbyes_of(greeted[i]), 1);
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        assert_int_equal(goodbyes_of(strangers[i]), 0);
}

// Goal:   a file that is not a plugin, or that others could have written, is not loaded.
static void files_that_are_not_trusted(void **state)
{
    (void)state;
    folder_t folder;
    char path[512], text[512];
    folder_begin(&folder);
    folder_put(&folder, "weir_open.so", WORLD_PLUGINS "/weir_mine.so", 0666);
    folder_put(&folder, "weir_shared.so", WORLD_PLUGINS "/weir_mine.so", 0664);
    folder_put(&folder, "weir_text.so", NULL, 0644);
    static const char writable[] = "not loaded: it must be a file of yours or root's that "
                                   "other groups and others cannot write (chmod go-w)";
    snprintf(path, sizeof path, "%s/weir_open.so", folder.path);
    expect_refusal(path, "open", writable);
    snprintf(path, sizeof path, "%s/weir_shared.so", folder.path);
    if (geteuid() == 0) { // only root can give a file to a group that is not its own
        assert_int_equal(chown(path, 0, 54321), 0);
        assert_int_equal(chmod(path, 0664), 0);
        expect_refusal(path, "shared", writable);
    }
    snprintf(path, sizeof path, "%s/weir_text.so", folder.path);
    snprintf(text, sizeof text, "cannot be loaded: %.400s: file too short", path);
    expect_refusal(path, "text", text);
    snprintf(path, sizeof path, "%s/weir_absent.so", folder.path);
    expect_refusal(path, "absent", "cannot be opened: check the path");
    folder_end(&folder);
    // The loader would take a bare name from places that nobody named.
    expect_refusal("weir_mine.so", "mine",
        "not loaded: write ./weir_mine.so if it lies in the working directory");
}

// Goal:   folders and files are searched in order; in a folder only weir_*.so, by name; the first
//         of two with one name stays.
static void search_path_is_followed(void **state)
{
    (void)state;
    folder_t folder;
    world_t world;
    char path[1024];
    folder_begin(&folder);
    folder_put(&folder, "weir_b.so", WORLD_PLUGINS "/weir_mine.so", 0644);
    folder_put(&folder, "weir_a.so", WORLD_PLUGINS "/weir_picky.so", 0644);
    folder_put(&folder, "other.so", WORLD_PLUGINS "/weir_mine.so", 0644);
    folder_put(&folder, "weir_b.so.old", WORLD_PLUGINS "/weir_mine.so", 0644);
    snprintf(
        path, sizeof path, "%s::" WORLD_PLUGINS "/weir_mine.so:/nowhere/weir_x.so", folder.path);
    world_options_t options = {.plugin_path = path};
    expect_ok(world_engine(&world, &options));
    static const char *const names[] = {"picky", "mine", "ref", "mine", "x"};
    assert_int_equal(weir_device_count(world.engine), 5);
    for (uint32_t i = 0; i < 5; i++) {
        weir_device_description_t device = describe(world.engine, i);
        assert_string_equal(device.name, names[i]);
        assert_int_equal(device.usable, i < 3);
    }
    assert_string_equal(
        describe(world.engine, 3).text, "another plugin named \"mine\" was found first");
    assert_string_equal(describe(world.engine, 2).text, "plain C, always there");
    assert_string_equal(describe(world.engine, 0).version, "0.1.0");
    weir_device_description_t past = {.size = sizeof past};
    expect_status(weir_device_describe(world.engine, 5, &past), WEIR_NOT_FOUND, "...5");
    world_close(&world);
    folder_end(&folder);
}

// Goal:   WEIR_PLUGIN_PATH is used when the options say nothing, and only then.
static void environment_names_plugins(void **state)
{
    (void)state;
    weir_engine_t *engine;
    assert_int_equal(setenv("WEIR_PLUGIN_PATH", WORLD_PLUGINS, 1), 0);
    weir_engine_options_t options = {.size = sizeof options, .threads = 1, .cache_dir = ""};
    expect_ok(weir_engine_create(&options, &engine));
    assert_int_equal(weir_device_count(engine), 3);
    weir_engine_free(engine);
    options.plugin_path = "";
    expect_ok(weir_engine_create(&options, &engine));
    assert_int_equal(weir_device_count(engine), 1);
    weir_engine_free(engine);
    unsetenv("WEIR_PLUGIN_PATH");
}

// ---- Options -----------------------------------------------------------------------------------

static void expect_option(const char *text, weir_code_t code, const char *message)
{
    world_t world;
    world_options_t options = {.plugin_path = WORLD_PLUGINS, .plugin_options = text};
    weir_status_t status = world_engine(&world, &options);
    if (code)
        expect_status(status, code, message);
    else
        expect_ok(status);
    if (!code)
        weir_engine_free(world.engine);
    assert_int_equal(atomic_load(&world.live), 0);
}

// Goal:   a wrong option is an error that says what is right.
static void options_are_checked(void **state)
{
    (void)state;
    expect_option("picky.tile=64,picky.exact=0,,", WEIR_OK, "");
    expect_option("picky.tiel=8", WEIR_INVALID_ARGUMENT,
        "plugin \"picky\" has no option \"tiel\": did you mean \"picky.tile\"?");
    expect_option("picky.exakt=1", WEIR_INVALID_ARGUMENT,
        "plugin \"picky\" has no option \"exakt\": did you mean \"picky.exact\"?");
    expect_option("mine.speed=1", WEIR_INVALID_ARGUMENT,
        "plugin \"mine\" has no option \"speed\": it has none at all; leave it out");
    for (const char *const *value =
             (const char *const[]){"0", "65", "x", "", "4x", "-1", "99999999999999999999", NULL};
         *value; value++) {
        char option[64], message[128];
        snprintf(option, sizeof option, "picky.tile=%s", *value);
        snprintf(message, sizeof message, "option %s: expected a number from 1 to 64", option);
        expect_option(option, WEIR_INVALID_ARGUMENT, message);
    }
    expect_option(
        "picky.exact=yes", WEIR_INVALID_ARGUMENT, "option picky.exact=yes: expected 0 or 1");
    expect_option("cuda.streams=2", WEIR_NOT_FOUND,
        "option cuda.streams: no plugin named \"cuda\" was loaded (there are: ref, mine, picky); "
        "leave the option out or put weir_cuda.so on WEIR_PLUGIN_PATH");
    expect_option("tile=4", WEIR_INVALID_ARGUMENT,
        "plugin option \"tile=4\": write it as plugin.option=value");
    expect_option("picky.tile", WEIR_INVALID_ARGUMENT,
        "plugin option \"picky.tile\": write it as plugin.option=value");
}

// ---- A first kernel ----------------------------------------------------------------------------

// Goal:   the plugin of the documentation gets its node, and only that, and computes it.
static void first_kernel_runs(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,5000");
    add_node(&graph, "Exp", "exp", "x", "e", (message_t){0});
    add_node(&graph, "Relu", "relu", "x", "r", (message_t){0});
    add_node(&graph, "Add", "add", "e,r", "y", (message_t){0});
    add_output(&graph, "y");
    world_options_t options = {.plugin_path = WORLD_PLUGINS, .devices = "mine,ref"};
    world_open(&world, graph, &options);
    weir_plan_node_t node = {.size = sizeof node};
    uint32_t mine = 0;
    for (uint32_t i = 0; weir_plan_node(world.plan, i, &node); i++) {
        bool is_relu = strcmp(node.device, "mine") == 0;
        mine += is_relu;
        assert_string_equal(node.why, is_relu ? ""
                                      : strcmp(node.fused, "Exp") == 0
                                          ? "mine: has no kernel for Exp"
                                          : "mine: has no kernel for Add");
        if (is_relu) {
            assert_string_equal(node.op, "Relu");
            assert_string_equal(node.kernel, "Relu");
            assert_string_equal(node.origins, "relu");
        }
    }
    assert_int_equal(mine, 1);
    static float x[3 * 5000], wanted[3 * 5000];
    fill_floats(x, 3 * 5000, 7);
    for (int i = 0; i < 3 * 5000; i++)
        wanted[i] = expf(x[i]) + (x[i] > 0 ? x[i] : 0);
    weir_value_t in[] = {weir_f32(x, 2, 3, 5000)}, out[1];
    world_run(&world, 1, in, 1, out);
    expect_floats(out, 3 * 5000, wanted, 1e-6f);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake_refuses),
        cmocka_unit_test(refused_plugins_are_shut_down),
        cmocka_unit_test(files_that_are_not_trusted),
        cmocka_unit_test(search_path_is_followed),
        cmocka_unit_test(environment_names_plugins),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(first_kernel_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
