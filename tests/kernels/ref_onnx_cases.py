"""The reference kernels against the node cases of the onnx package.

What: every case that is a single node of an operator in docs/operators.md, run by shuffled tasks and at once,
      outputs compared with the case's own. Used by check_ref.py.
"""
import warnings

import numpy as np
from onnx import numpy_helper

from ref_node import Unknown, run_onnx_node

# Cases whose expectation is written down with four digits.
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}


def to_array(value):
    return value if isinstance(value, (np.ndarray, np.generic, int, float)) else numpy_helper.to_array(value)


def run_case(probe, case):
    model = case.model
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset == 0 or len(model.graph.node) != 1 or model.graph.node[0].domain not in ("", "ai.onnx"):
        raise Unknown("more than one node")
    node = model.graph.node[0]
    for inputs, outputs in case.data_sets:
        given = dict(zip([i.name for i in model.graph.input], inputs))
        named = dict(zip([o.name for o in model.graph.output], outputs))
        if any(isinstance(v, (list, type(None))) for v in list(inputs) + list(outputs)):
            raise Unknown("sequences and optionals")
        ins = [np.asarray(to_array(given[n])) if n else None for n in node.input]
        expected = [np.asarray(to_array(named[n])) if n else None for n in node.output]
        got = run_onnx_node(probe, node, opset, ins, expected)
        for g, e in zip(got, expected):
            if e is None:
                continue
            if np.issubdtype(e.dtype, np.floating) or e.dtype.name == "bfloat16":
                # The expectations were computed in the case's own type: that is what may differ.
                tolerance = 1e-2 if e.dtype.itemsize == 2 else ROUNDED.get(case.name, 1e-5)
                np.testing.assert_allclose(g.astype(np.float64), e.astype(np.float64),
                                           rtol=tolerance, atol=tolerance / 10)
            else:
                np.testing.assert_array_equal(g, e)


def run_all(probe, part=""):
    """Returns (passed, failed)."""
    from onnx.backend.test.case.node import collect_testcases
    passed, failed, skipped = 0, 0, 0
    operators = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in collect_testcases("") if part in case.name]
    for case in cases:
        try:
            run_case(probe, case)
            passed += 1
            operators.add(case.model.graph.node[0].op_type)
        except Unknown:
            skipped += 1
        except (RuntimeError, AssertionError) as why:
            failed += 1
            print(f"FAIL {case.name}: {' '.join(str(why).split())[:300]}")
    print(f"node cases: {passed} passed, {failed} failed, {skipped} of other operators; "
          f"{len(operators)} operators")
    if not part and (passed < 600 or len(operators) < 90):
        print("FAIL the harness skips node cases that it once ran")
        failed += 1
    return passed, failed
