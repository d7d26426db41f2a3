// engine/conform/child.c: one group in a process of its own: crash, abort, exit, output and hang
// are outcomes.
//
// The child writes into shared memory which case runs; so the parent can say it whatever the end
// was. Must not load the plugin in the parent.
#include "engine/conform/child.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUP_S 60 // that a group may take

// The handler gets no pointer of ours.
static weir__kit_progress_t *reported;

static void on_fault(int number, siginfo_t *info, void *context)
{
    char where[160];
    (void)context;
    weir__kit_block_explain(info->si_addr, where, sizeof where);
    if (reported && !reported->has_failed) {
        snprintf(reported->what, sizeof reported->what, "signal %d (%s) at %p%s", number,
            number == SIGSEGV  ? "segmentation fault"
            : number == SIGBUS ? "bus error"
                               : "bad instruction or arithmetic",
            info->si_addr, where);
        reported->has_failed = true;
    }
    _exit(3);
}

static void catch_faults(void)
{
    static char stack[64 * 1024]; // the plugin's own may be what overflowed
    const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

// Standard output and error go to memory. Returns its descriptor.
static int capture_output(void)
{
    int file = memfd_create("output", MFD_CLOEXEC);
    if (file >= 0) {
        dup2(file, STDOUT_FILENO);
        dup2(file, STDERR_FILENO);
    }
    return file;
}

static void check_output(weir__kit_subject_t *subject, int file)
{
    struct stat info;
    char text[100] = "";
    fflush(NULL);
    if (file < 0 || fstat(file, &info) != 0 || info.st_size == 0)
        return;
    ssize_t length = pread(file, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    weir__kit_fail(subject, "it prints (\"%s\"): a plugin tells by host->log and host->fail", text);
}

static void run_group(const weir__kit_job_t *job, weir__kit_progress_t *progress)
{
    static weir__kit_subject_t subject;
    subject.progress = progress;
    subject.case_limit = job->case_limit;
    uint32_t timeout_s = job->options->timeout_s ? job->options->timeout_s : GROUP_S;
    subject.patience_s = WEIR_MAX(timeout_s / 3, 1u);
    subject.host.set_options = job->options->plugin_options;
    subject.host.set_option_count = job->options->plugin_option_count;
    subject.seed = weir__kit_hash(job->options->seed, job->name);
    int output = capture_output();
    bool is_loaded = weir__kit_load(&subject, job->options->plugin);
    if (is_loaded && !job->check) {
        weir__kit_check_load(&subject);
    } else if (is_loaded && job->kernel == UINT32_MAX) {
        weir__kit_target_t target = {.operator_ = job->operator_, .dtype = job->dtype};
        job->check(&subject, &target);
    } else if (is_loaded && job->kernel < subject.kernel_count) {
        weir__kit_target_t target = {.kernel = &subject.kernels[job->kernel], .dtype = job->dtype};
        weir_operator_t declared;
        weir__kit_operator_t custom;
        target.operator_ = weir__kit_operator(target.kernel->op);
        if (!target.operator_ && weir__kit_custom(&subject, target.kernel, &declared, &custom))
            target = (weir__kit_target_t){target.kernel, &custom, target.dtype, &declared};
        job->check(&subject, &target);
    }
    if (is_loaded && subject.plugin.shutdown)
        subject.plugin.shutdown(&subject.host.abi);
    check_output(&subject, output);
    progress->has_ended = true;
}

static void judge(weir__kit_progress_t *progress, int status, bool is_late, uint32_t timeout_s)
{
    if (progress->has_failed)
        return;
    progress->has_failed = true;
    if (is_late)
        snprintf(progress->what, sizeof progress->what, "it hangs: no end within %u s", timeout_s);
    else if (WIFSIGNALED(status))
        snprintf(progress->what, sizeof progress->what, "it ended the process: signal %d (%s)",
            WTERMSIG(status), WTERMSIG(status) == SIGABRT ? "abort" : strsignal(WTERMSIG(status)));
    else if (!progress->has_ended)
        snprintf(progress->what, sizeof progress->what, "it ended the process: exit code %d",
            WEXITSTATUS(status));
    else
        progress->has_failed = false;
}

weir_code_t weir__kit_child_run(const weir__kit_job_t *job, weir__kit_progress_t *progress)
{
    int ends[2], status = 0;
    uint32_t timeout_s = job->options->timeout_s ? job->options->timeout_s : GROUP_S;
    memset(progress, 0, sizeof *progress);
    fflush(NULL); // or the child would write it again
    if (pipe(ends) != 0)
        return WEIR_RESOURCE_EXHAUSTED;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        reported = progress;
        catch_faults();
        run_group(job, progress);
        _exit(0);
    }
    close(ends[1]); // the child's own end closes when it is gone
    struct pollfd gone = {.fd = ends[0], .events = POLLIN};
    bool is_late = child > 0 && poll(&gone, 1, (int)timeout_s * 1000) == 0;
    if (is_late)
        kill(child, SIGKILL);
    if (child > 0)
        waitpid(child, &status, 0);
    close(ends[0]);
    if (child < 0)
        return WEIR_RESOURCE_EXHAUSTED;
    judge(progress, status, is_late, timeout_s);
    return WEIR_OK;
}
