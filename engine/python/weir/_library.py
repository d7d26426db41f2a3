"""The C API as ctypes sees it: where the library is, its structs and its functions.

Why:  one place mirrors the headers, and tests/models/check_python.py holds it against them.
Must not: contain behaviour; session.py has that.
"""

import ctypes
import ctypes.util
import os
import pathlib
from ctypes import (
    POINTER,
    Structure,
    c_char,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)

RANK_MAX = 16

# dtype bit -> (numpy's name, ONNX Runtime's name). numpy has no bfloat16: it travels as uint16.
DTYPES = {
    1 << 0: ("float32", "tensor(float)"),
    1 << 1: ("float64", "tensor(double)"),
    1 << 2: ("float16", "tensor(float16)"),
    1 << 3: ("uint16", "tensor(bfloat16)"),
    1 << 4: ("int8", "tensor(int8)"),
    1 << 5: ("int16", "tensor(int16)"),
    1 << 6: ("int32", "tensor(int32)"),
    1 << 7: ("int64", "tensor(int64)"),
    1 << 8: ("uint8", "tensor(uint8)"),
    1 << 9: ("uint16", "tensor(uint16)"),
    1 << 10: ("uint32", "tensor(uint32)"),
    1 << 11: ("uint64", "tensor(uint64)"),
    1 << 12: ("bool", "tensor(bool)"),
    1 << 13: ("object", "tensor(string)"),
}
BF16 = 1 << 3
DTYPE_BITS = {name: bit for bit, (name, _) in DTYPES.items() if bit != BF16}

PLACE_CALLER = 0
PLACE_VIEW = 1

INVALID_ARGUMENT = 1
NOT_FOUND = 2
UNSUPPORTED = 3


class StatusConstant(Structure):
    _fields_ = [
        ("code", c_int32),
        ("is_constant", c_uint32),
        ("text", c_char_p),
        ("message_offset", c_uint64),
        ("source", c_char_p),
    ]


class Allocator(Structure):
    _fields_ = [("user_data", c_void_p), ("alloc", c_void_p), ("free", c_void_p)]


class Limits(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("rank", c_uint32),
        ("file_bytes", c_uint64),
        ("external_bytes", c_uint64),
        ("nodes", c_uint64),
        ("values", c_uint64),
        ("initializers", c_uint64),
        ("attributes", c_uint64),
        ("name_bytes", c_uint64),
        ("tensor_bytes", c_uint64),
        ("subgraph_depth", c_uint64),
        ("wire_depth", c_uint64),
        ("fold_node_bytes", c_uint64),
        ("fold_total_bytes", c_uint64),
        ("graph_bytes", c_uint64),
        ("peak_bytes", c_uint64),
        ("arena_bytes", c_uint64),
        ("load_ns", c_uint64),
        ("function_nodes", c_uint64),
        ("operands", c_uint64),
    ]


class TeamOptions(Structure):
    _fields_ = [("cpus", c_char_p), ("threads", c_uint32), ("reserved", c_uint32)]


class FeederOptions(Structure):
    _fields_ = [("pci", c_char_p), ("cpus", c_char_p)]


class EngineOptions(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("threads", c_uint32),
        ("plugin_path", c_char_p),
        ("cache_dir", c_char_p),
        ("plugin_options", c_char_p),
        ("limits", POINTER(Limits)),
        ("allocator", POINTER(Allocator)),
        ("log", c_void_p),
        ("log_user_data", c_void_p),
        ("log_level", c_int),
        ("cpus", c_char_p),
        ("spin_ns", c_uint64),
        ("teams", POINTER(TeamOptions)),
        ("team_count", c_uint32),
        ("feeder_count", c_uint32),
        ("cache_bytes", c_uint64),
        ("feeders", POINTER(FeederOptions)),
    ]


class DeviceDescription(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("usable", c_uint32),
        ("name", c_char * 64),
        ("version", c_char * 32),
        ("text", c_char * 256),
        ("path", c_char * 512),
    ]


class ModelOptions(Structure):
    _fields_ = [("size", c_uint32), ("keep_as_is", c_uint32), ("all_outputs", c_uint32)]


class Port(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_uint32),
        ("rank", c_int32),
        ("dims", c_int64 * RANK_MAX),
        ("dim_names", c_char_p * RANK_MAX),
    ]


class Producer(Structure):
    _fields_ = [("op", c_char_p), ("origin", c_char_p)]


class ModelInfo(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("from_cache", c_uint32),
        ("name", c_char_p),
        ("producer", c_char_p),
        ("digest", c_char * 40),
        ("ir_version", c_int64),
        ("opset", c_int64),
        ("file_bytes", c_uint64),
        ("node_count", c_uint64),
        ("file_node_count", c_uint64),
        ("parameter_count", c_uint64),
        ("parameter_bytes", c_uint64),
        ("folded_bytes", c_uint64),
        ("load_ns", c_uint64),
    ]


class Tally(Structure):
    _fields_ = [("name", c_char_p), ("count", c_uint64)]


class PlanOptions(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("require_devices", c_uint32),
        ("devices", c_char_p),
        ("placement", c_char_p),
        ("precision", c_char_p),
    ]


class PlanNode(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("depth", c_uint32),
        ("op", c_char_p),
        ("origins", c_char_p),
        ("device", c_char_p),
        ("kernel", c_char_p),
        ("fused", c_char_p),
        ("why", c_char_p),
        ("cost_ns", c_uint64),
        ("cost_source", c_uint32),
        ("group", c_uint32),
        ("is_requested", c_uint32),
        ("slice", c_uint32),
    ]


class PlanCandidate(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("is_chosen", c_uint32),
        ("device", c_char_p),
        ("reason", c_char_p),
        ("cost_ns", c_uint64),
        ("cost_source", c_uint32),
        ("is_last", c_uint32),
    ]


class PlanInput(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("producer", c_uint32),
        ("value", c_char_p),
        ("is_constant", c_uint32),
        ("reserved", c_uint32),
    ]


class PlanCut(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("reserved", c_uint32),
        ("value", c_char_p),
        ("from", c_char_p),
        ("to", c_char_p),
        ("bytes", c_uint64),
        ("cost_ns", c_uint64),
    ]


class PlanInfo(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("node_count", c_uint32),
        ("ref_node_count", c_uint32),
        ("reserved", c_uint32),
        ("packed_bytes", c_uint64),
        ("packed_cached_bytes", c_uint64),
        ("create_ns", c_uint64),
        ("resident_bytes", c_uint64),
        ("program_count", c_uint32),
        ("program_cached_count", c_uint32),
    ]


class SessionOptions(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("threads", c_uint32),
        ("team", c_uint32),
        ("reserved", c_uint32),
    ]


class RunOptions(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("profile_level", c_uint32),
        ("deadline_ns", c_uint64),
        ("cancel", c_void_p),
        ("request_id", c_uint64),
        ("threads", c_uint32),
        ("reserved", c_uint32),
    ]


class SessionInfo(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("specialization_count", c_uint32),
        ("arena_bytes", c_uint64),
        ("run_count", c_uint64),
        ("specialize_count", c_uint64),
        ("specialize_ns", c_uint64),
        ("step_count", c_uint64),
        ("device_bytes", c_uint64),
    ]


class ProfileRun(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("step_count", c_uint32),
        ("start_ns", c_uint64),
        ("duration_ns", c_uint64),
    ]


class ProfileStep(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("reserved", c_uint32),
        ("op", c_char_p),
        ("origins", c_char_p),
        ("device", c_char_p),
        ("kernel", c_char_p),
        ("fused", c_char_p),
        ("start_ns", c_uint64),
        ("duration_ns", c_uint64),
        ("bytes", c_uint64),
        ("flop", c_uint64),
        ("shape", c_char * 128),
    ]


class ProfileNode(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("step", c_uint32),
        ("op", c_char_p),
        ("origins", c_char_p),
        ("start_ns", c_uint64),
        ("duration_ns", c_uint64),
    ]


class Value(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("capacity_bytes", c_uint64),
        ("dtype", c_uint32),
        ("rank", c_uint32),
        ("placement", c_uint32),
        ("reserved", c_uint32),
        ("dims", c_int64 * RANK_MAX),
    ]


# C name -> class: what tests/models/check_python.py compares with the headers, field by field.
STRUCTS = {
    "weir_status_constant_t": StatusConstant,
    "weir_allocator_t": Allocator,
    "weir_limits_t": Limits,
    "weir_team_options_t": TeamOptions,
    "weir_feeder_options_t": FeederOptions,
    "weir_engine_options_t": EngineOptions,
    "weir_device_description_t": DeviceDescription,
    "weir_model_options_t": ModelOptions,
    "weir_port_t": Port,
    "weir_producer_t": Producer,
    "weir_model_info_t": ModelInfo,
    "weir_tally_t": Tally,
    "weir_plan_options_t": PlanOptions,
    "weir_plan_node_t": PlanNode,
    "weir_plan_candidate_t": PlanCandidate,
    "weir_plan_input_t": PlanInput,
    "weir_plan_cut_t": PlanCut,
    "weir_plan_info_t": PlanInfo,
    "weir_session_options_t": SessionOptions,
    "weir_run_options_t": RunOptions,
    "weir_session_info_t": SessionInfo,
    "weir_profile_run_t": ProfileRun,
    "weir_profile_step_t": ProfileStep,
    "weir_profile_node_t": ProfileNode,
    "weir_value_t": Value,
}

_HANDLE = c_void_p
_STATUS = c_void_p

# name -> (result, arguments)
FUNCTIONS = {
    "weir_version": (c_char_p, []),
    "weir_now_ns": (c_uint64, []),
    "weir_status_code": (c_int32, [_STATUS]),
    "weir_status_text": (c_char_p, [_STATUS]),
    "weir_status_message": (c_char_p, [_STATUS]),
    "weir_status_source": (c_char_p, [_STATUS]),
    "weir_status_free": (None, [_STATUS]),
    "weir_code_name": (c_char_p, [c_int32]),
    "weir_limits_default": (None, [POINTER(Limits)]),
    "weir_engine_create": (_STATUS, [POINTER(EngineOptions), POINTER(_HANDLE)]),
    "weir_engine_free": (None, [_HANDLE]),
    "weir_engine_threads": (c_uint32, [_HANDLE]),
    "weir_engine_memory": (None, [_HANDLE, POINTER(c_uint64), POINTER(c_uint64)]),
    "weir_device_count": (c_uint32, [_HANDLE]),
    "weir_device_describe": (_STATUS, [_HANDLE, c_uint32, POINTER(DeviceDescription)]),
    "weir_model_load": (_STATUS, [_HANDLE, c_char_p, POINTER(ModelOptions), POINTER(_HANDLE)]),
    "weir_model_load_bytes": (
        _STATUS,
        [_HANDLE, c_void_p, c_size_t, POINTER(ModelOptions), POINTER(_HANDLE)],
    ),
    "weir_model_free": (None, [_HANDLE]),
    "weir_model_input_count": (c_uint32, [_HANDLE]),
    "weir_model_output_count": (c_uint32, [_HANDLE]),
    "weir_model_input": (_STATUS, [_HANDLE, c_uint32, POINTER(Port)]),
    "weir_model_output": (_STATUS, [_HANDLE, c_uint32, POINTER(Port)]),
    "weir_model_producer": (_STATUS, [_HANDLE, c_uint32, POINTER(Producer)]),
    "weir_model_describe": (None, [_HANDLE, POINTER(ModelInfo)]),
    "weir_plan_create": (_STATUS, [_HANDLE, POINTER(PlanOptions), POINTER(_HANDLE)]),
    "weir_plan_free": (None, [_HANDLE]),
    "weir_plan_node": (c_int, [_HANDLE, c_uint32, POINTER(PlanNode)]),
    "weir_plan_candidate": (c_int, [_HANDLE, c_uint32, c_uint32, POINTER(PlanCandidate)]),
    "weir_plan_input": (c_int, [_HANDLE, c_uint32, c_uint32, POINTER(PlanInput)]),
    "weir_plan_cut": (c_int, [_HANDLE, c_uint32, POINTER(PlanCut)]),
    "weir_plan_describe": (None, [_HANDLE, POINTER(PlanInfo)]),
    "weir_session_create": (_STATUS, [_HANDLE, POINTER(SessionOptions), POINTER(_HANDLE)]),
    "weir_session_free": (None, [_HANDLE]),
    "weir_session_run": (
        _STATUS,
        [_HANDLE, POINTER(RunOptions), c_size_t, POINTER(Value), c_size_t, POINTER(Value)],
    ),
    "weir_session_describe": (None, [_HANDLE, POINTER(SessionInfo)]),
    "weir_session_profile_run": (None, [_HANDLE, POINTER(ProfileRun)]),
    "weir_session_profile_node": (c_int, [_HANDLE, c_uint32, POINTER(ProfileNode)]),
    "weir_session_profile_dropped": (c_uint32, [_HANDLE]),
    "weir_session_profile": (c_int, [_HANDLE, c_uint32, POINTER(ProfileStep)]),
    "weir_cancel_create": (_STATUS, [POINTER(_HANDLE)]),
    "weir_cancel_trigger": (None, [_HANDLE]),
    "weir_cancel_free": (None, [_HANDLE]),
}


def candidates():
    """Where the library may be, best first: WEIR_LIBRARY alone when it is set."""
    if os.environ.get("WEIR_LIBRARY"):
        return [os.environ["WEIR_LIBRARY"]]
    here = pathlib.Path(__file__).resolve().parent
    found = [
        str(here / "libweir.so"),
        str(here.parents[2] / "build" / "release" / "lib" / "libweir.so"),
    ]
    found = [path for path in found if os.path.exists(path)]
    installed = ctypes.util.find_library("weir")
    return found + ([installed] if installed else [])


def load():
    """The library with its functions declared. ImportError says where it was looked for."""
    paths = candidates()
    if not paths:
        raise ImportError(
            "libweir.so is neither in build/release/lib (`./run build` puts it there) nor "
            "installed; "
            "WEIR_LIBRARY may name it"
        )
    try:
        library = ctypes.CDLL(paths[0])
    except OSError as error:
        raise ImportError(f"{paths[0]} cannot be loaded: {error}") from error
    for name, (result, arguments) in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{paths[0]} has no {name}: it is another version of weir") from None
        function.restype, function.argtypes = result, arguments
    library.path = paths[0]
    return library


lib = load()
