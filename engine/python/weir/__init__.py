"""weir: an inference engine for ONNX models.

    import weir
    session = weir.InferenceSession("model.onnx")
    outputs = session.run(None, {"input": array})

Why:  a thin layer over the C API; WEIR_LIBRARY names another libweir.so than that of `./run build`.
Must not: hold anything that the C API does not have.
"""

from ._library import lib as _lib
from ._profile import Profile
from .session import Cancel, Engine, Error, InferenceSession, NodeArg

__all__ = ["Cancel", "Engine", "Error", "InferenceSession", "NodeArg", "Profile", "devices"]
__version__ = _lib.weir_version().decode()


def devices():
    """What can run models on this machine, and why the rest cannot: a list of dicts."""
    return Engine.shared().devices()
