// tests/scheduler/make_rows.c: writes the model of loop_world.h to a file, for programs that load
// one. usage: make_rows FILE
#include "tests/scheduler/loop_world.h"

int main(int argc, char **argv)
{
    message_t model = make_model(rows_graph(), 17);
    FILE *file = argc == 2 ? fopen(argv[1], "wb") : NULL;
    if (!file || fwrite(model.data, 1, model.count, file) != model.count || fclose(file) != 0)
        return 1;
    free(model.data);
    return 0;
}
