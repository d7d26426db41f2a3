"""weir explain: PP-OCR's recognizer over two devices as golden text, and what must hold of every explanation.

What: the table, the JSON and the drawing of `weir explain` for the recognizer placed over the chaos device (memory of
      its own) and the CPU, some nodes by request. The text is compared with tests/models/explain.golden (--update
      rewrites it; read the difference before keeping it).
Why:  who wants to know where a node runs, and why not elsewhere, must find the answer for each node and each device.
Must not: depend on measured times or on the machine: there is no cache folder, and two threads are asked for.
"""
import argparse
import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "models"))
sys.dont_write_bytecode = True
import fetch  # noqa: E402  pylint: disable=wrong-import-position

GOLDEN = ROOT / "tests" / "models" / "explain.golden"
COMMAND = pathlib.Path(os.environ.get("WEIR_COMMAND", ROOT / "build" / "release" / "bin" / "weir")).resolve()
CHAOS = COMMAND.parent.parent / "lib" / "weir-test"
# A convolution with its tail, an attention block and the last Softmax stay on the CPU.
PLACES = "p2o.Conv.6=cpu;p2o.MatMul.14=cpu;p2o.Softmax.2=cpu"
SHOWN = ["--device", "chaos,cpu", "--place", PLACES]
QUOTED = r'"(?:[^"\\]|\\.)*"'
DOT_LINE = re.compile(
    rf"\s*(?:digraph {QUOTED} \{{|subgraph cluster_\d+ \{{|label={QUOTED}|\}}|node \[.*\]"
    rf"|n\d+ \[fillcolor=\w+, label={QUOTED}\]|n\d+ -> n\d+ \[tooltip={QUOTED}\])")


def explain(*arguments, code=0, command="explain", cache=""):
    model = fetch.model_path("ppocr-rec")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    kept.update(WEIR_CACHE_DIR=cache, WEIR_PLUGIN_PATH=str(CHAOS), LC_ALL="C")
    done = subprocess.run([COMMAND, command, model.name, "--threads", "2", *arguments], cwd=model.parent, env=kept,
                          capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != code:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr}")
    return done


class Explain(unittest.TestCase):
    def test_golden(self):
        wanted, found = GOLDEN.read_text().splitlines(), explain(*SHOWN).stdout.splitlines()
        difference = list(difflib.unified_diff(wanted, found, "golden", "found", lineterm=""))
        self.assertFalse(difference, "\n".join(difference))

    def test_each_node_and_device(self):
        said = json.loads(explain(*SHOWN, "--json").stdout)
        self.assertEqual(1, said["explain_version"])
        placed = [node for node in said["nodes"] if node["candidates"]]
        self.assertGreater(len(placed), 60)
        for node in placed:
            self.assertEqual(["chaos", "cpu", "ref"], [c["device"] for c in node["candidates"]])
            self.assertEqual([node["device"]], [c["device"] for c in node["candidates"] if c["chosen"]])
            self.assertGreater(node["cost_ns"], 0)
            for candidate in node["candidates"]:
                self.assertEqual(candidate["able"], candidate["reason"] is None)
                self.assertEqual(candidate["able"], candidate["cost_ns"] > 0)
                self.assertEqual(candidate["last_resort"], candidate["device"] == "ref")
                if candidate["chosen"]:
                    self.assertEqual(node["cost_ns"], candidate["cost_ns"])
        # All of the rest is the engine's own: views, sizes.
        for node in said["nodes"]:
            if not node["candidates"] and node["op"] != "Reorder":
                self.assertEqual("engine", node["device"])
        for total in said["devices"]:
            mine = [node for node in said["nodes"] if node["device"] == total["name"]]
            self.assertEqual(total["node_count"], len(mine))
            self.assertEqual(total["cost_ns"], sum(node["cost_ns"] for node in mine))
            self.assertEqual(total["launch_count"], len({node["slice"] for node in mine if "slice" in node}))

    def test_requests(self):
        said = json.loads(explain(*SHOWN, "--json").stdout)
        for origin in ("p2o.Conv.6", "p2o.MatMul.14", "p2o.Softmax.2"):
            node, = (n for n in said["nodes"] if origin in n["origins"].split("+") and n["candidates"])
            self.assertEqual("cpu", node["device"])
            self.assertTrue(node["requested"])
        self.assertEqual(3, sum(node["requested"] for node in said["nodes"]))
        for cut in said["cuts"]:
            self.assertGreater(cut["bytes"], 0)
            self.assertGreater(cut["cost_ns"], 0)
            self.assertIn("chaos", (cut["from"], cut["to"]))
        failed = explain("--device", "chaos,cpu", "--place", "p2o.Conv.1000=cpu", code=1)
        self.assertIn('node "p2o.Conv.1000"', failed.stderr)

    def test_measured(self):
        sizes = ["--dim", "x:0=1", "--dim", "x:2=48", "--dim", "x:3=64", "--runs", "2"]
        with tempfile.TemporaryDirectory() as folder:
            for devices in ("cpu", "chaos"):
                explain("--device", devices, *sizes, command="profile", cache=folder)
            nodes = json.loads(explain("--device", "chaos,cpu", "--json", cache=folder).stdout)["nodes"]
        sources = [{c["device"]: c["cost_source"] for c in node["candidates"]} for node in nodes if node["candidates"]]
        both = [row for row in sources if row["cpu"] == row["chaos"] == "measured"]
        self.assertGreater(len(both), len(sources) // 2, sources)

    def test_drawing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.dot"
            explain(*SHOWN, "--dot", str(path))
            lines = path.read_text().splitlines()
        for line in lines:
            self.assertTrue(DOT_LINE.fullmatch(line), line)
        self.assertEqual(sum(line.rstrip().endswith("{") for line in lines), sum(line.strip() == "}" for line in lines))
        nodes = {line.split()[0] for line in lines if re.match(r"\s*n\d+ \[", line)}
        edges = [line.split()[0:3:2] for line in lines if " -> " in line]
        self.assertGreater(len(edges), len(nodes) - 2)
        self.assertTrue(all(end in nodes for edge in edges for end in edge))
        failed = explain("--dot", "/nowhere/plan.dot", code=1)
        self.assertIn("choose another file with --dot", failed.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="rewrite the golden text")
    options, rest = parser.parse_known_args()
    if not COMMAND.exists() or not list(CHAOS.glob("weir_chaos.so")):
        sys.exit(f"check_explain.py: {COMMAND} or the chaos device beside it is not there; ./run build makes them")
    if options.update:
        GOLDEN.write_text(explain(*SHOWN).stdout)
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
