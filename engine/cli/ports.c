// Inputs and outputs of a model as text, the same in every command.
#include "engine/cli/ports.h"

#include <inttypes.h>
#include <weir/value.h>

#include "engine/cli/text.h"

weir__cli_port_text_t weir__cli_port_type(const weir_port_t *port)
{
    weir__cli_port_text_t out;
    size_t used = (size_t)snprintf(out.text, sizeof(out.text), "%s[%s",
        weir_dtype_name(port->dtype), port->rank < 0 ? "..." : "");
    for (int32_t i = 0; i < port->rank && used < sizeof(out.text); i++) {
        char safe[64];
        const char *comma = i > 0 ? ", " : "";
        char *at = out.text + used;
        const size_t left = sizeof(out.text) - used;
        if (port->dims[i] >= 0)
            used += (size_t)snprintf(at, left, "%s%" PRId64, comma, port->dims[i]);
        else
            used += (size_t)snprintf(at, left, "%s%s", comma,
                port->dim_names[i] ? weir__cli_text_safe(port->dim_names[i], safe, sizeof(safe))
                                   : "?");
    }
    if (used < sizeof(out.text))
        (void)snprintf(out.text + used, sizeof(out.text) - used, "]");
    return out;
}

weir__cli_port_text_t weir__cli_port_concrete(
    weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    weir_port_t port = {.dtype = dtype, .rank = (int32_t)WEIR_MIN(rank, (uint32_t)WEIR_RANK_MAX)};
    for (int32_t i = 0; i < port.rank; i++)
        port.dims[i] = dims[i];
    return weir__cli_port_type(&port);
}

void weir__cli_port_json(weir__cli_json_t *json, const weir_port_t *port)
{
    weir__cli_json_open(json, NULL, '{');
    weir__cli_json_text(json, "name", port->name);
    weir__cli_json_text(json, "dtype", weir_dtype_name(port->dtype));
    if (port->rank < 0) {
        weir__cli_json_text(json, "dims", NULL);
    } else {
        weir__cli_json_open(json, "dims", '[');
        for (int32_t i = 0; i < port->rank; i++) {
            if (port->dims[i] >= 0)
                weir__cli_json_i64(json, NULL, port->dims[i]);
            else
                weir__cli_json_text(json, NULL, port->dim_names[i]);
        }
        weir__cli_json_close(json, ']');
    }
    weir__cli_json_close(json, '}');
}
