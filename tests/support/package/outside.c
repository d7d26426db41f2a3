// An outside program: it knows weir by its installed headers and library only. It creates an
// engine, prints the version and lists the devices.
//
// It is built by package.sh, against an install tree, once by CMake and once by pkg-config. It must
// include nothing that an embedder would not have.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weir/weir.h>

static int fail(weir_status_t status)
{
    fprintf(stderr, "%s\n", weir_status_text(status));
    weir_status_free(status);
    return 1;
}

int main(void)
{
    weir_engine_t *engine = NULL;
    weir_engine_options_t options = {.size = sizeof options, .threads = 1, .cache_dir = ""};
    weir_status_t status = weir_engine_create(&options, &engine);
    if (status)
        return fail(status);

    printf("version %s\n", weir_version());
    for (uint32_t i = 0; i < weir_device_count(engine); i++) {
        weir_device_description_t device = {.size = sizeof device};
        status = weir_device_describe(engine, i, &device);
        if (status) {
            weir_engine_free(engine);
            return fail(status);
        }
        printf("device %s %s path=%s\n", device.name, device.usable ? "usable" : device.text,
            device.path);
    }
    weir_engine_free(engine);
    return 0;
}
