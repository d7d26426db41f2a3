// tests/fuzz/fuzz_validator.c: read, check, infer shapes; the graph stays as the file has it.
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    weir_model_t *model = NULL;
    weir_model_options_t options = {.size = sizeof options, .keep_as_is = 1};
    weir_status_t status = weir_model_load_bytes(fuzz_engine(""), data, bytes, &options, &model);
    weir_port_t port;
    for (uint32_t i = 0; !status && i < weir_model_input_count(model); i++)
        status = weir_model_input(model, i, &port);
    for (uint32_t i = 0; !status && i < weir_model_output_count(model); i++)
        status = weir_model_output(model, i, &port);
    fuzz_plant(!status && weir_model_output_count(model) == 1 && port.rank == 3, data, bytes);
    weir_status_free(status);
    weir_model_free(model);
    return 0;
}
