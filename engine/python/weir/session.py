"""Sessions: a model is loaded once and run from as many threads as there are.

What: InferenceSession, what its inputs and outputs look like, Error, Cancel.
Why:  tests, benchmarks and researchers speak to the engine in numpy arrays.
Must not: compute anything itself, or keep the interpreter's lock while the engine works
      (ctypes.CDLL frees it).
"""

import contextlib
import ctypes
import threading
import warnings
import weakref

import numpy as np

from . import _library as c
from ._binding import Binding
from ._library import lib
from ._profile import Profile


# After these a session may wait for a device for ever.
_SPENT = ("DEADLINE_EXCEEDED", "CANCELLED", "DEVICE_LOST", "UNAVAILABLE")


class Error(Exception):
    """A call that failed. code: "INVALID_ARGUMENT" and so on; source: the line of weir that said
    so.
    """

    def __init__(self, code, message, source=""):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.source = source


def _text(value):
    return value.decode("utf-8", "replace") if value else ""


def _fail(code, message):
    raise Error(_text(lib.weir_code_name(code)), message)


def _check(status):
    """Raises the status of a call when it failed, and frees it."""
    if status:
        error = Error(
            _text(lib.weir_code_name(lib.weir_status_code(status))),
            _text(lib.weir_status_message(status)),
            _text(lib.weir_status_source(status)),
        )
        lib.weir_status_free(status)
        raise error


def _sized(struct, **fields):
    return struct(size=ctypes.sizeof(struct), **fields)


def _plain(struct):
    """A struct as a dict, texts decoded, without the fields that only the ABI needs."""
    values = {
        name: getattr(struct, name)
        for name, *_ in struct._fields_
        if name not in ("size", "reserved")
    }
    return {
        name: _text(v) if isinstance(v, bytes) else "" if v is None else v
        for name, v in values.items()
    }


class Engine:
    """Plugins, threads and caches. Sessions with the same options share one.

    cache_bytes: what the cache's folder may hold, about 2.5 times the weights of the models in use;
                 0: 2 GiB.
    """

    _shared = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(
        self,
        threads=0,
        plugin_path=None,
        cache_dir=None,
        plugin_options=None,
        limits=None,
        cache_bytes=0,
    ):
        options = _sized(c.EngineOptions, threads=threads, cache_bytes=cache_bytes)
        for name, value in (
            ("plugin_path", plugin_path),
            ("cache_dir", cache_dir),
            ("plugin_options", plugin_options),
        ):
            setattr(options, name, None if value is None else str(value).encode())
        if limits:
            table = _sized(c.Limits)
            for name, value in limits.items():
                if name == "size" or name not in dict(c.Limits._fields_):
                    _fail(c.INVALID_ARGUMENT, f"there is no limit called {name!r}")
                setattr(table, name, value)
            options.limits = ctypes.pointer(table)
        self.handle = c.c_void_p()
        _check(lib.weir_engine_create(ctypes.byref(options), ctypes.byref(self.handle)))
        weakref.finalize(self, lib.weir_engine_free, self.handle)
        for device in self.devices():
            # Models would run all the same, on the plain C device and many times slower.
            if not device["usable"] and "rebuild" in device["text"]:
                warnings.warn(f"weir: {device['path']} is not used: {device['text']}", stacklevel=3)

    @classmethod
    def shared(cls, **options):
        """The engine with these options, made when there is none."""
        key = repr(sorted(options.items()))
        with cls._lock:
            engine = cls._shared.get(key)
            if engine is None:
                engine = cls._shared[key] = cls(**options)
            return engine

    def devices(self):
        """What can run models, and why the rest cannot: a list of dicts."""
        found = []
        for index in range(lib.weir_device_count(self.handle)):
            description = _sized(c.DeviceDescription)
            _check(lib.weir_device_describe(self.handle, index, ctypes.byref(description)))
            found.append(_plain(description))
        return found

    def memory(self):
        """(bytes held now, bytes held at most)."""
        now, peak = c.c_uint64(), c.c_uint64()
        lib.weir_engine_memory(self.handle, ctypes.byref(now), ctypes.byref(peak))
        return now.value, peak.value

    @property
    def threads(self):
        return lib.weir_engine_threads(self.handle)


class Cancel:
    """A flag that ends runs: give it to run(), trigger() it from any thread."""

    def __init__(self):
        self.handle = c.c_void_p()
        _check(lib.weir_cancel_create(ctypes.byref(self.handle)))
        weakref.finalize(self, lib.weir_cancel_free, self.handle)

    def trigger(self):
        lib.weir_cancel_trigger(self.handle)


class NodeArg:
    """An input or output: name, type as in "tensor(float)", shape with ints, names or None; None:
    rank unknown.
    """

    def __init__(self, port):
        self.name = _text(port.name)
        self.bit = port.dtype
        self.type = c.DTYPES[port.dtype][1] if port.dtype in c.DTYPES else "tensor(?)"
        self.shape = None
        if port.rank >= 0:
            self.shape = [
                port.dims[i] if port.dims[i] >= 0 else _text(port.dim_names[i]) or None
                for i in range(port.rank)
            ]

    def __repr__(self):
        return f"NodeArg(name={self.name!r}, type={self.type!r}, shape={self.shape})"


def _to_value(port, array, keep):
    """An input as the C API takes it; `keep` holds what must outlive the run."""
    if not isinstance(array, (np.ndarray, np.generic)):
        array = np.asarray(
            array, None if port.bit not in c.DTYPES else np.dtype(c.DTYPES[port.bit][0])
        )
    dtype = array.dtype
    bit = c.DTYPE_BITS.get(dtype.name)
    if dtype.name == "bfloat16" or (port.bit == c.BF16 and dtype.name == "uint16"):
        bit = c.BF16
    if bit is None or dtype.name == "object":
        _fail(c.UNSUPPORTED, f"input {port.name!r}: numpy's {dtype} cannot be given to a model")
    if not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    if array.ndim > c.RANK_MAX:
        _fail(c.INVALID_ARGUMENT, f"input {port.name!r}: rank {array.ndim}, at most {c.RANK_MAX}")
    array = np.require(array, requirements=["C", "A"])  # keeps rank 0, copies only when it must
    keep.append(array)
    value = c.Value(
        data=array.ctypes.data,
        capacity_bytes=array.nbytes,
        dtype=bit,
        rank=array.ndim,
        placement=c.PLACE_CALLER,
    )
    value.dims[: array.ndim] = array.shape
    return value


def _to_array(value):
    """A fresh array with what a view points at."""
    shape = tuple(value.dims[i] for i in range(value.rank))
    if value.dtype not in c.DTYPES or c.DTYPES[value.dtype][0] == "object":
        _fail(c.UNSUPPORTED, f"an output of dtype {value.dtype:#x} has no numpy equivalent")
    array = np.empty(shape, c.DTYPES[value.dtype][0])
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, value.data, array.nbytes)
    return array


class InferenceSession:
    """A model made ready to run.

    model:     a path, or the bytes of a model.
    threads:   that compute, the caller's included; 0: as many as this process may use.
    devices:   in order of preference, e.g. ["cuda", "cpu"]; None: the engine's order. One alone has
               to run every node; of several, what none can do runs on "ref".
    placement: {name of an ONNX node: device}; what is fused with the node goes there with it.
    precision: "f32", or "bf16": products of operands rounded to bf16, where a device can.
    engine:    an Engine to share; None: the one with these options.
    require_devices: True makes a node that none of `devices` can run an error.
    keep_as_is: True runs the graph as the file has it, without folding or rewriting.
    Other options (plugin_path, cache_dir, cache_bytes, plugin_options, limits) are those of Engine.

    run() may be called from many threads at a time: each call takes a session of its own from a
    pool.
    """

    def __init__(
        self,
        model,
        threads=0,
        devices=None,
        precision="f32",
        *,
        engine=None,
        require_devices=False,
        keep_as_is=False,
        placement=None,
        **engine_options,
    ):
        self.engine = engine or Engine.shared(threads=threads, **engine_options)
        self._model = c.c_void_p()
        options = _sized(c.ModelOptions, keep_as_is=int(keep_as_is))
        if isinstance(model, (bytes, bytearray, memoryview)):
            view = np.frombuffer(model, np.uint8)
            _check(
                lib.weir_model_load_bytes(
                    self.engine.handle,
                    view.ctypes.data,
                    view.nbytes,
                    ctypes.byref(options),
                    ctypes.byref(self._model),
                )
            )
        else:
            path = model if isinstance(model, str) else model.__fspath__()
            path = path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")
            _check(
                lib.weir_model_load(
                    self.engine.handle, path, ctypes.byref(options), ctypes.byref(self._model)
                )
            )
        weakref.finalize(self, lib.weir_model_free, self._model)
        self._inputs = self._ports(lib.weir_model_input_count, lib.weir_model_input)
        self._outputs = self._ports(lib.weir_model_output_count, lib.weir_model_output)
        self._index = {port.name: index for index, port in enumerate(self._outputs)}
        self._plan = c.c_void_p()
        names = ",".join([devices] if isinstance(devices, str) else devices or [])
        places = ";".join(f"{node}={device}" for node, device in (placement or {}).items())
        plan_options = _sized(
            c.PlanOptions,
            require_devices=int(require_devices),
            devices=names.encode() if names else None,
            placement=places.encode() if places else None,
            precision=precision.encode(),
        )
        _check(
            lib.weir_plan_create(self._model, ctypes.byref(plan_options), ctypes.byref(self._plan))
        )
        weakref.finalize(self, lib.weir_plan_free, self._plan)
        self._lock = threading.Lock()
        self._idle = []
        # Sessions out on a run are not in the list, but a run keeps `self` alive, so none is
        # missed.
        weakref.finalize(self, InferenceSession._free_all, self._idle)
        self._release(self._acquire())  # what cannot work fails here, not at the first run

    @staticmethod
    def _free_all(sessions):
        while sessions:
            lib.weir_session_free(sessions.pop())

    def _ports(self, count, get):
        ports = []
        for index in range(count(self._model)):
            port = c.Port()
            _check(get(self._model, index, ctypes.byref(port)))
            ports.append(NodeArg(port))
        return ports

    def _acquire(self):
        with self._lock:
            if self._idle:
                return self._idle.pop()
        session = c.c_void_p()
        _check(lib.weir_session_create(self._plan, None, ctypes.byref(session)))
        return session

    def _release(self, session):
        with self._lock:
            self._idle.append(session)

    @contextlib.contextmanager
    def _borrowed(self):
        """A session of the pool, which gets it back."""
        session = self._acquire()
        try:
            yield session
        except Error as error:
            if (
                error.code in _SPENT
            ):  # the engine may have given the session up: the next run makes another
                lib.weir_session_free(session)
                session = None
            raise
        finally:
            if session is not None:
                self._release(session)

    def get_inputs(self):
        """What run() takes, in the model's order."""
        return list(self._inputs)

    def get_outputs(self):
        """What run() gives, in the model's order."""
        return list(self._outputs)

    def _make_inputs(self, feeds, keep):
        """The values of a run; `keep` gets what must outlive it."""
        unknown = sorted(set(feeds) - {port.name for port in self._inputs})
        if unknown:
            _fail(
                c.INVALID_ARGUMENT,
                f"the model has no input {unknown[0]!r}; it has "
                + ", ".join(repr(port.name) for port in self._inputs),
            )
        inputs = (c.Value * max(1, len(self._inputs)))()
        for index, port in enumerate(self._inputs):
            if port.name not in feeds:
                _fail(
                    c.INVALID_ARGUMENT,
                    f"input {port.name!r} is missing; give a {port.type} of shape {port.shape}",
                )
            inputs[index] = _to_value(port, feeds[port.name], keep)
        return inputs

    def _find_outputs(self, output_names):
        """Numbers of the outputs that are wanted."""
        if output_names is None:
            return range(len(self._outputs))
        for name in output_names:
            if name not in self._index:
                _fail(
                    c.INVALID_ARGUMENT,
                    f"the model has no output {name!r}; it has "
                    + ", ".join(repr(port.name) for port in self._outputs),
                )
        return [self._index[name] for name in output_names]

    def _run_on(self, session, options, inputs):
        """One run of a session; its outputs as views into that session's memory."""
        outputs = (c.Value * max(1, len(self._outputs)))()
        for value in outputs:
            value.placement = c.PLACE_VIEW
        _check(
            lib.weir_session_run(
                session,
                ctypes.byref(options),
                len(self._inputs),
                inputs,
                len(self._outputs),
                outputs,
            )
        )
        return outputs

    def run(self, output_names, feeds, *, deadline_ms=None, cancel=None, request_id=0):
        """Runs once. output_names: None for all. feeds: name -> array. Returns fresh arrays, in
        that order.
        """
        keep = []
        inputs = self._make_inputs(feeds, keep)
        wanted = self._find_outputs(output_names)
        options = _sized(c.RunOptions, request_id=request_id)
        if deadline_ms is not None:
            options.deadline_ns = lib.weir_now_ns() + max(0, int(deadline_ms * 1e6))
        if cancel is not None:
            options.cancel = cancel.handle
        with self._borrowed() as session:
            outputs = self._run_on(session, options, inputs)
            result = [_to_array(outputs[index]) for index in wanted]
        return result

    def bind(self, feeds):
        """Prepares runs on the same inputs: Binding.run() then costs two microseconds of Python.

        feeds: name -> array, C-contiguous and of the input's dtype, read again at each run.
        """
        keep = []
        inputs = self._make_inputs(feeds, keep)
        session = c.c_void_p()
        _check(lib.weir_session_create(self._plan, None, ctypes.byref(session)))
        return Binding(self, session, inputs, keep, len(self._outputs), _to_array, _check)

    def profile(self, output_names, feeds, *, runs=20, warm_up=3):
        """Runs `warm_up` + `runs` times and says where the time of the last `runs` of them went.

        Returns a Profile: .steps, .top(10), .save("trace.json"). Arguments otherwise as run()'s;
        outputs are made and thrown away.
        """
        self._find_outputs(output_names)
        if runs < 1 or warm_up < 0:
            _fail(c.INVALID_ARGUMENT, "profile() needs runs >= 1 and warm_up >= 0")
        keep = []
        inputs = self._make_inputs(feeds, keep)
        options = _sized(c.RunOptions)
        collected = Profile()
        with self._borrowed() as session:
            for index in range(-warm_up, runs):
                options.profile_level = int(index >= -1)  # the first one makes room for notes
                self._run_on(session, options, inputs)
                if index >= 0:
                    collected.take(*self._notes_of(session))
        return collected.finish()

    @staticmethod
    def _notes_of(session):
        """What the engine noted of a session's last run: (run, steps) as dicts."""
        run = _sized(c.ProfileRun)
        lib.weir_session_profile_run(session, ctypes.byref(run))
        steps = []
        for index in range(run.step_count):
            step = _sized(c.ProfileStep)
            lib.weir_session_profile(session, index, ctypes.byref(step))
            steps.append(_plain(step))
        return _plain(run), steps

    def model_info(self):
        """Sizes, digest and times of loading, as a dict."""
        info = _sized(c.ModelInfo)
        lib.weir_model_describe(self._model, ctypes.byref(info))
        return _plain(info)

    def plan_info(self):
        """Counts, packed bytes and time of planning, as a dict."""
        info = _sized(c.PlanInfo)
        lib.weir_plan_describe(self._plan, ctypes.byref(info))
        return _plain(info)

    def plan_nodes(self):
        """What runs where, in order: a list of dicts."""
        return self._rows(lib.weir_plan_node, c.PlanNode)

    def plan_candidates(self, node):
        """What each device has to do with that node of the plan: its cost there, or why not."""
        return self._rows(lib.weir_plan_candidate, c.PlanCandidate, node)

    def plan_inputs(self, node):
        """What that node of the plan reads, and which node makes it."""
        return self._rows(lib.weir_plan_input, c.PlanInput, node)

    def plan_cuts(self):
        """Tensors that are made on one device and read on another."""
        return self._rows(lib.weir_plan_cut, c.PlanCut)

    def _rows(self, function, struct, *where):
        rows = []
        while True:
            row = _sized(struct)
            if not function(self._plan, *where, len(rows), ctypes.byref(row)):
                return rows
            rows.append(_plain(row))
