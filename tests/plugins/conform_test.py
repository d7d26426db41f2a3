#!/usr/bin/env python3
"""Does `weir conform` catch each broken rule by the group meant for it, and pass what keeps them all?

    tests/plugins/conform_test.py BUILD_DIR [broken | sound]

It runs the command on broken.c's plugin once per rule (WEIR_BROKEN names it) and once with none broken, then
on the plugins of the tree. It must not accept a catch by accident: the group and the words are compared.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

# rule: (a group that must fail, words that its report must hold)
CAUGHT = {
    "hash": ("load", "built from another weir/plugin.h"),
    "name": ("load", "its name must be"),
    "version": ("load", "no version"),
    "no_table": ("load", "gave no table"),
    "kernel_size": ("load", "its table's stride"),
    "kernel_no_run": ("load", "no run()"),
    "load_thread": ("load", "started 1 threads"),
    "load_overrun": ("load", "past the end of weir_host_t"),
    "supports_impure": ("Relu f32 supports", "supports() is not pure"),
    "supports_reason": ("Relu f32", "gave no reason"),
    "supports_yes_prepare_no": ("Relu f32", "then prepare() failed (3): not after all"),
    "supports_yes_run_no": ("Relu f32", "then run() failed (3)"),
    "prepared_past_end": ("Relu f32", "past the end of weir_prepared_t"),
    "tasks_impure": ("Relu f32 tasks in random order", "tasks() is not pure"),
    "too_many_phases": ("Relu f32", "phases"),
    "order": ("Relu f32 tasks in random order", "the bytes of the result differ"),
    "last_task": ("Relu f32 tasks in random order", "the bytes of the result differ"),
    "race": ("Relu f32 tasks on threads", "the bytes of the result differ"),
    "state_shared": ("Relu f32 two nodes at once", "state is shared between nodes"),
    "write_state": ("Relu f32", "in memory from host->alloc, which run() may only read"),
    "run_allocates": ("Relu f32 steady", "run() calls malloc"),
    "run_thread": ("Relu f32 steady", "run() calls pthread_create"),
    "leak": ("Relu f32 steady", "leave 16 blocks behind"),
    "prints": ("Relu f32", "it prints (\"running\")"),
    "abort": ("Relu f32", "signal 6 (abort)"),
    "exit": ("Relu f32", "exit code 0"),
    "hang": ("Relu f32 steady", "it hangs: no end within 1 s"),
    "write_past_end": ("Relu f32", "output 0"),
    "write_before_start": ("Relu f32", "output 0"),
    "read_past_end": ("Relu f32", "past the end of input 0"),
    "write_input": ("Relu f32", "in input 0, which run() may only read"),
    "write_past_scratch": ("Relu f32", "past the end of scratch"),
    "write_past_shared": ("Relu f32", "past the end of the shared block"),
    "tail": ("Relu f32", "differs in 1 of"),
    "nan_swallowed": ("Relu f32", "should be nan"),
    "in_place": ("Relu f32 in place", "differs in"),
    "epilogue_ignored": ("Relu f32 with an epilogue", "differs in"),
    "pack_format": ("Add f32 packed constants", "WEIR_FORMAT_OWN"),
    "pack_unwritten": ("Add f32 packed constants", "leaves some unwritten"),
    "pack_wrong": ("Add f32 packed constants", "differs in"),
    "index_unchecked": ("Gather f32", "is INVALID_ARGUMENT"),
    "infer_impure": ("test.broken::Twice f32 infer()", "infer() is not pure"),
    "infer_reason": ("test.broken::Twice f32 infer()", "gave no reason"),
    "infer_negative": ("test.broken::Twice f32 infer()", "as -1, though all sizes are known"),
    "infer_dtypes": ("test.broken::Twice f32 infer()", "the dtype bits 129"),
    "infer_rank": ("test.broken::Twice f32 infer()", "and the rank 17"),
    "infer_symbols": ("test.broken::Twice f32 infer()", "with symbols than with their sizes"),
    "infer_no_symbols": ("test.broken::Twice f32 infer()", "but not symbols for them"),
    "custom_unwritten": ("test.broken::Twice f32 run again", "with other bytes in its outputs"),
    "custom_past_end": ("test.broken::Twice f32 run again", "output 0"),
}
# Of a device; only the group meant for it is run.
CAUGHT_DEVICE = {
    "no_launch": ("load", "L2 needs"),
    "enumerate_endless": ("device: opening", "has no end"),
    "enumerate_overrun": ("device: opening", "past the end of weir_device_info_t"),
    "open_thread": ("device: opening", "host->thread_start is for that"),
    "close_leaks": ("device: opening", "10 times open() and close() leave 10"),
    "close_keeps_buffers": ("device: opening", "2 buffers that were not given back leave"),
    "thread_left": ("device: opening", "leaves 1 helper threads"),
    "clock_back": ("device: opening", "clock() goes back"),
    "alloc_code": ("device: memory", "alloc() of 2^60 bytes said 13"),
    "alloc_handles": ("device: memory", "one handle for two buffers"),
    "memory_info": ("device: memory", "memory_info() says 0, 0 and 0"),
    "copy_offset": ("device: copies", "copy() of"),
    "copy_first": ("device: copies", "copy() of"),
    "pinned_pointer": ("device: memory", "signal 11"),
    "wait_ignored": ("device: queues", "did not wait"),
    "signal_missing": ("device: copies", "was not signalled within 1 s"),
    "signal_twice": ("device: copies", "signalled a point twice"),
    "signal_unasked": ("device: copies", "that it was not asked for"),
    "signal_early": ("device: memory", "does not hold what was copied"),
    "claim_impure": ("Relu f32 on the device", "claim() is not pure"),
    "claim_reason": ("Add f32 on the device", "said no and gave no reason"),
    "value": ("Relu f32 on the device", "differs in"),
    "write_outside": ("Relu f32 on the device", "wrote outside its tensors"),
    "launch_allocates": ("Relu f32 on the device, steady", "a launch calls malloc"),
    "launch_waits": ("Relu f32 on the device, steady", "a launch calls pthread_cond_timedwait"),
    "artifact_stale": ("Relu f32 on the device, saved and loaded", "artifact_check() accepts"),
    "artifact_other": ("Relu f32 on the device, saved and loaded", "gives another answer"),
    "record_stale": ("Relu f32 on the device, recorded", "with other bindings"),
    "release_early": ("Relu f32 on the device, released under way", "signal 11"),
}
# It would hang in every group: one is enough.
EXTRA = {"hang": ["--filter", "Relu f32 steady", "--timeout", "1"],
         "signal_missing": ["--filter", "device: copies", "--timeout", "3"]}


def conform(weir, plugin, *options, broken=None):
    environment = dict(os.environ, WEIR_BROKEN=broken or "")
    done = subprocess.run([weir, "conform", str(plugin), "--json", *options], env=environment,
                          capture_output=True, text=True, timeout=300, check=False)
    if not done.stdout:
        return done.returncode, {"groups": [], "passed": 0, "failed": 0, "error": done.stderr}
    return done.returncode, json.loads(done.stdout)


def check_broken(weir, plugin, caught, is_group_alone=False):
    code, report = conform(weir, plugin)
    assert code == 0 and report["failed"] == 0, f"broken by nothing, yet: {report}"
    whole = {group["name"] for group in report["groups"]}
    for rule, (name, words) in caught.items():
        options = EXTRA.get(rule, ["--filter", name] if is_group_alone else [])
        code, report = conform(weir, plugin, *options, broken=rule)
        assert code == 1, f"{rule}: exit code {code}"
        failed = {g["name"]: g["what"] for g in report["groups"] if g["outcome"] == "failed"}
        assert name in failed, f"{rule}: {name} did not fail, but {failed}"
        assert words in failed[name], f"{rule}: {name} says: {failed[name]}"
        assert name == "load" or name in whole or "epilogue" in name, f"{rule}: no group {name}"
        if name != "load":
            assert not [f for f in failed if f.startswith("load")], f"{rule}: load failed: {failed}"
        print(f"{rule}: caught by {name}: {failed[name]}")
    return len(caught)


def check_sound(weir, build):
    """What is ours conforms, with two seeds; the same seed says the same."""
    for plugin in ("ref", build / "lib/weir/weir_cpu.so", build / "lib/example/weir_example.so"):
        for seed in ("1", "20261121"):
            code, report = conform(weir, plugin, "--seed", seed)
            failed = [group for group in report["groups"] if group["outcome"] == "failed"]
            assert code == 0 and not failed, f"{plugin}, seed {seed}: {failed or report}"
            assert report["passed"] > 10, f"{plugin}: only {report['passed']} groups passed"
            print(f"{plugin} --seed {seed}: {report['passed']} passed, {report['unsupported']} unsupported")


def check_chaos(weir, plugin):
    """The fake device in each of its forms."""
    for options in ((), ("level=1",), ("claim=1",), ("replay=fixed",), ("host_memory=1",), ("own_constants=1",),
                    ("delay_us=100", "jitter_us=200"), ("pinned=0",)):
        given = [word for option in options for word in ("--option", option)]
        code, report = conform(weir, plugin, *given, *(["--filter", "MatMul"] if options else []))
        failed = [group for group in report["groups"] if group["outcome"] == "failed"]
        if options == ("level=1",):  # it asks the kernel that it wraps anew for each node, which allocates
            failed = [group for group in failed if not group["name"].endswith(", steady")]
        assert not failed and report["passed"] >= (2 if options else 200), f"{options}: {failed or report}"
        print(f"{plugin} {' '.join(options)}: {report['passed']} passed, {report['unsupported']} unsupported")
        code, report = conform(weir, plugin, *given, "--filter", "device:")
        assert code == 0 and report["passed"] >= 1, f"{options}: {report}"


def check_command(weir, plugin):
    """What a mistyped or pointless call is told."""
    for arguments, words in (
            (["nothing.so"], "write ./nothing.so"), (["./nothing.so"], "cannot be read"),
            ([str(plugin.parent)], "not a regular file"),
            ([str(plugin), "--filter", "no such group"], "nothing was checked"),
            *(([str(plugin), "--shard", text], "two numbers as in 3/8")
              for text in ("0/2", "3/2", "1", "/2", "1/2/", "-1/2"))):
        done = subprocess.run([weir, "conform", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and words in done.stderr, f"{arguments}: {done.stderr}"
        assert "INTERNAL" not in done.stderr, f"{arguments}: {done.stderr}"
    once = conform(weir, plugin, "--filter", "Relu f32", broken="tail")
    again = conform(weir, plugin, "--filter", "Relu f32", broken="tail")
    assert once == again, "the same seed gives another report"
    other = conform(weir, plugin, "--filter", "Relu f32", "--seed", "2", broken="tail")
    assert once != other, "another seed gives the same cases"
    whole = {group["name"]: group for group in conform(weir, plugin, "--filter", "f32")[1]["groups"]}
    parts = [conform(weir, plugin, "--filter", "f32", "--shard", f"{i}/3")[1]["groups"] for i in (1, 2, 3)]
    assert sum(map(len, parts)) == len(whole) > 3 * 2 and all(parts), "shards leave out groups, or do them twice"
    assert {group["name"]: group for part in parts for group in part} == whole, "a shard says something else"


def main():
    build = Path(sys.argv[1]).resolve()
    parts = sys.argv[2:] or ["broken", "sound"]
    weir, plugin = str(build / "bin/weir"), build / "lib/test/weir_broken.so"
    if "broken" in parts:
        count = check_broken(weir, plugin, CAUGHT)
        device = build / "lib/test/weir_broken_device.so"
        count += check_broken(weir, device, CAUGHT_DEVICE, is_group_alone=True)
        check_command(weir, plugin)
        print(f"conform: {count} broken rules caught")
    if "sound" in parts:
        check_sound(weir, build)
        check_chaos(weir, build / "lib/weir-test/weir_chaos.so")


if __name__ == "__main__":
    main()
