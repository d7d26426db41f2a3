"""What a case of a family is, and the one list that all families are in."""

from typing import NamedTuple

INVALID, UNSUPPORTED, LIMIT, NOT_FOUND = "INVALID_ARGUMENT", "UNSUPPORTED", "LIMIT", "NOT_FOUND"
OK = "OK"


class Case(NamedTuple):
    data: bytes | None  # None: `path` is used as it is
    code: str           # how load, plan and run must end, together
    fill: int = 0       # elements of made-up integer inputs
    dims: str = ""      # of made-up inputs, for those that the model leaves open: "3x4"
    files: dict = {}    # name -> bytes, or a function that makes it, given its path
    path: str = ""      # instead of a file of its own; {folder}: where files are


FAMILIES = {}


def family(maker):
    """`maker` yields cases; the first is a valid sibling that must run."""
    FAMILIES[maker.__name__] = maker
    return maker
