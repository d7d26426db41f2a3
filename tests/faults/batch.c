// tests/faults/batch.c: see batch.h.
#include "tests/faults/batch.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void child(const batch_t *batch, _Atomic uint32_t *at, uint32_t first)
{
    batch->begin(batch->user);
    for (uint32_t i = first; i < batch->count; i++) {
        atomic_store(at, i);
        batch->run(batch->user, i);
    }
    atomic_store(at, batch->count);
    batch->end(batch->user);
    exit(0);
}

// Waits for the child; true when it was ended because one case took too long.
static int wait_for(pid_t pid, const batch_t *batch, _Atomic uint32_t *at, int *out_status)
{
    const uint32_t step_ms = 10;
    struct pollfd child_end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    uint32_t seen = UINT32_MAX, waited_ms = 0;
    int hung = 0;
    while (waitpid(pid, out_status, WNOHANG) == 0) {
        (void)poll(&child_end, 1, (int)step_ms); // until it ends; a moment, where there is no pidfd
        uint32_t now = atomic_load(at);
        waited_ms = now == seen ? waited_ms + step_ms : 0;
        seen = now;
        if (waited_ms > batch->stall_seconds * 1000) {
            hung = 1;
            kill(pid, SIGKILL);
            waitpid(pid, out_status, 0);
            break;
        }
    }
    if (child_end.fd >= 0)
        close(child_end.fd);
    return hung;
}

int batch_run(const batch_t *batch)
{
    int lost = 0;
    _Atomic uint32_t *at =
        mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    for (uint32_t first = 0; first < batch->count;) {
        int status = 0;
        char what[64] = "HANG";
        fflush(NULL);
        atomic_store(at, first);
        pid_t pid = fork();
        if (pid < 0)
            return -1;
        if (pid == 0)
            child(batch, at, first);
        int hung = wait_for(pid, batch, at, &status);
        uint32_t last = atomic_load(at);
        first = batch->count;
        if (!hung && WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break;
        if (!hung && WIFSIGNALED(status))
            snprintf(what, sizeof what, "CRASH signal %d", WTERMSIG(status));
        else if (!hung)
            snprintf(what, sizeof what, "CRASH exit code %d", WEXITSTATUS(status));
        batch->lost(batch->user, last, last == batch->count ? "LEAK or crash at the end" : what);
        first = last + 1;
        lost++;
    }
    munmap((void *)at, sizeof *at);
    return lost;
}
