// The picture of a run: python3 draws it from the JSON file, with the script that was built in.
//
// The command must not need Python: where matplotlib is absent it says so and the JSON is there
// anyway.
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scheduler/cli/load.h"
#include "scheduler/cli/plot_script.h"

enum { NO_MATPLOTLIB = 3, NOT_FOUND = 127 }; // exit codes: of the script, of posix_spawnp's child

weir_code_t weir__load_plot(const char *json_path, const char *png_path, weir__cli_fault_t *fault)
{
    char python[] = "python3", option[] = "-c";
    char *arguments[] = {python, option, (char *)(uintptr_t)weir__load_plot_script,
        (char *)(uintptr_t)json_path, (char *)(uintptr_t)png_path, NULL};
    pid_t child = 0;
    const int error = posix_spawnp(&child, python, NULL, NULL, arguments, environ);
    int status = NOT_FOUND << 8;
    while (!error && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!error && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return WEIR_OK;
    if (error || (WIFEXITED(status) && WEXITSTATUS(status) == NOT_FOUND))
        return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
            "%s is not drawn: there is no python3; the figures are in %s", png_path, json_path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MATPLOTLIB)
        return weir__cli_fault_set(fault, WEIR_NOT_FOUND,
            "%s is not drawn: python3 has no matplotlib (Debian: python3-matplotlib); the figures "
            "are in %s",
            png_path, json_path);
    return weir__cli_fault_set(fault, WEIR_INVALID_ARGUMENT,
        "%s cannot be drawn (see above); the figures are in %s", png_path, json_path);
}
