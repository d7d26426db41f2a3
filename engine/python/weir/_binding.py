"""Bound runs: the same inputs and outputs again and again, without Python's part in each run.

What: Binding, which InferenceSession.bind() makes.
Why:  a model of a hundred microseconds should not be measured, or served, through as much Python.
Must not: be run from two threads at a time; bind once for each.
"""

import ctypes

from . import _library as c
from ._library import lib


class Binding:
    """A session of its own with its inputs in place. The arrays given to bind() are read at each
    run(), so new values are written into them; their shapes stay.
    """

    def __init__(self, owner, session, inputs, keep, count, take, check):
        self._owner = owner  # its plan lives as long as this
        self._session = session
        self._inputs = inputs
        self._keep = keep
        self._take = take
        self._check = check
        self._options = c.RunOptions(size=ctypes.sizeof(c.RunOptions))
        self._outputs = (c.Value * max(1, count))()
        for value in self._outputs:
            value.placement = c.PLACE_VIEW
        self._arguments = (session, ctypes.byref(self._options), len(keep), inputs, count, self._outputs)
        self._count = count

    def run(self):
        """Runs once."""
        status = lib.weir_session_run(*self._arguments)
        if status:
            self._check(status)

    def outputs(self):
        """Fresh arrays with the outputs of the last run, in the model's order."""
        return [self._take(self._outputs[index]) for index in range(self._count)]

    def __del__(self):
        lib.weir_session_free(self._session)
