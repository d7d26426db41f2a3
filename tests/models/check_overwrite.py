#!/usr/bin/env python3
"""Overwriting or truncating a model's file while plans of it run changes nothing.

Goal:   what was loaded stays loaded: runs under way, new sessions and new plans of a loaded model
        give the same bytes whatever becomes of the file, and a load of the damaged file is an error
        and not a crash.
Method: in a child process (a mapped file that is cut short would kill it with SIGBUS) two threads
        run a session while the file is overwritten in place with noise, truncated to half, to
        nothing, deleted and put back; after each step a further plan and a further session of the
        loaded model are made through the C API.
Must not: rely on timing: each step waits until both threads have finished a run after it.

usage: check_overwrite.py [--model NAME] [--device NAME]
"""

import argparse
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

import numpy as np
import onnx

import support
from support import fetch


def more_of(weir, session, feed):
    """What a second plan of the model that `session` has loaded answers."""
    from weir import _library as c  # pylint: disable=import-outside-toplevel
    from weir import session as inner  # pylint: disable=import-outside-toplevel

    plan = c.c_void_p()
    options = c.PlanOptions(size=ctypes.sizeof(c.PlanOptions))
    inner._check(c.lib.weir_plan_create(session._model, ctypes.byref(options), ctypes.byref(plan)))
    other = object.__new__(weir.InferenceSession)
    other.__dict__.update(session.__dict__)
    other._plan, other._idle, other._lock = plan, [], threading.Lock()
    try:
        return other.run(None, feed)
    finally:
        inner.InferenceSession._free_all(other._idle)
        c.lib.weir_plan_free(plan)


class Runner(threading.Thread):
    """Runs a session over and over; remembers the first answer that differs."""

    def __init__(self, session, feed, want):
        super().__init__(daemon=True)
        self.session, self.feed, self.want = session, feed, want
        self.condition = threading.Condition()
        self.runs, self.wrong, self.stopping = 0, None, False

    def run(self):
        while not self.stopping and self.wrong is None:
            try:
                same(self.session.run(None, self.feed), self.want, "a run under way")
            except Exception as error:  # pylint: disable=broad-except
                # Whatever goes wrong on this thread is told to the one that waits for it.
                self.wrong = f"{type(error).__name__}: {error}"
            with self.condition:
                self.runs += 1
                self.condition.notify_all()

    def wait_for_whole_run(self):
        """Returns when a run that began after this call has ended."""
        with self.condition:
            target = self.runs + 2
            if not self.condition.wait_for(lambda: self.runs >= target or self.wrong, 120):
                raise SystemExit("a run did not end")
        if self.wrong:
            raise SystemExit(f"wrong after the file was changed: {self.wrong}")


def same(got, want, what):
    for index, (a, b) in enumerate(zip(got, want, strict=True)):
        if a.tobytes() != b.tobytes():
            raise ValueError(f"{what}: output {index} differs")


def must_differ(session, feed, want):
    """The comparison has to notice an answer to another input, else the rest says nothing."""
    other = {name: np.ascontiguousarray(value[..., ::-1]) for name, value in feed.items()}
    try:
        same(session.run(None, other), want, "")
    except ValueError:
        return
    raise SystemExit("the answer to another input has the same bytes: the comparison cannot fail")


def overwrite(path, size):
    with open(path, "r+b") as stream:
        stream.write(np.random.default_rng(5).integers(0, 256, size, dtype=np.uint8).tobytes())


def truncate(path, size):
    os.truncate(path, size)


def refused(weir, path, device):
    """A damaged or absent file is an error that names it."""
    try:
        weir.InferenceSession(str(path), devices=device)
    except weir.Error as error:
        if path.name not in str(error):
            raise SystemExit(f"the error does not name the file: {error}") from error
        return error.code
    raise SystemExit(f"{path.name} is damaged and was loaded without an error")


def child(path, original, name, device):
    """The check itself; ends the process with a message where something differs."""
    import weir  # pylint: disable=import-outside-toplevel

    path, device = pathlib.Path(path), [device] if device else None
    feed = support.named(support.feeds(name, True)[0], onnx.load(original))
    session = weir.InferenceSession(str(path), devices=device)
    want = session.run(None, feed)
    must_differ(session, feed, want)
    size = path.stat().st_size
    runners = [Runner(session, feed, want) for _ in range(2)]
    for runner in runners:
        runner.start()
    steps = [
        ("overwritten in place", lambda: overwrite(path, size)),
        ("cut to half", lambda: truncate(path, size // 2)),
        ("cut to nothing", lambda: truncate(path, 0)),
        ("deleted", path.unlink),
        ("put back", lambda: shutil.copyfile(original, path)),
        ("cut by one byte", lambda: truncate(path, size - 1)),
    ]
    for what, change in steps:
        change()
        for runner in runners:
            runner.wait_for_whole_run()
        same(more_of(weir, session, feed), want, f"{what}: another plan")
        if what == "put back":
            same(
                weir.InferenceSession(str(path), devices=device).run(None, feed),
                want,
                "the file loaded again",
            )
            print(f"  {what}: the same bytes, loaded again as well")
        else:
            print(f"  {what}: the same bytes; a new load: {refused(weir, path, device)}")
    for runner in runners:
        runner.stopping = True
    for runner in runners:
        runner.join()
        if runner.wrong:
            raise SystemExit(runner.wrong)
    print(f"  {sum(runner.runs for runner in runners)} runs under way gave the same bytes")


def main():
    parser = argparse.ArgumentParser(description="Changes a model's file while it runs.")
    parser.add_argument("--model", action="append", choices=list(fetch.MODELS))
    parser.add_argument("--device")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.model or ["magika", "squeezenet"]
    try:
        fetch.ensure(names)
    except fetch.FetchError as error:
        sys.exit(f"check_overwrite.py: {error}")
    if arguments.child:
        child(arguments.child, fetch.model_path(names[0]), names[0], arguments.device)
        return 0
    failed = 0
    for name in names:
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.onnx"
            shutil.copyfile(fetch.model_path(name), path)
            command = [sys.executable, __file__, "--model", name, "--child", str(path)]
            command += ["--device", arguments.device] if arguments.device else []
            code = subprocess.run(command, check=False, timeout=600).returncode
        if code:
            print(f"  FAILED: {'killed by signal ' + str(-code) if code < 0 else 'see above'}")
            failed += 1
    print(f"overwrite: {len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
