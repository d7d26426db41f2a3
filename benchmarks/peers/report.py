#!/usr/bin/env python3
"""Draws what peers.py measured: a PNG, and one HTML page that needs nothing else.

usage: report.py RESULTS.jsonl [--plot FILE.png] [--html FILE.html]
"""

import argparse
import base64
import html
import io
import json
import pathlib
import sys

NAMES = {"onnxruntime": "ONNX Runtime", "onnxruntime-spin": "ONNX Runtime", "openvino": "OpenVINO"}
COLOURS = {"ONNX Runtime": "#3465a4", "OpenVINO": "#cc7a00"}


def draw(results, target):
    """One panel for each number of threads: a peer's time over ours, with its interval."""
    import matplotlib  # pylint: disable=import-outside-toplevel

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    threads = sorted({r["threads"] for r in results}, reverse=True)
    cases = list(dict.fromkeys(r["case"] for r in results))
    figure, axes = pyplot.subplots(1, len(threads), squeeze=False, sharey=True,
                                   figsize=(5.5 * len(threads), 1.2 + 0.42 * len(cases)))
    for axis, number in zip(axes[0], threads):
        seen = set()
        for result in (r for r in results if r["threads"] == number):
            at = cases.index(result["case"])
            for name, row in result["peers"].items():
                if "ratio" not in row:
                    continue
                label = NAMES[name]
                offset = 0.16 if label == "OpenVINO" else -0.16
                axis.barh(at + offset, row["ratio"], 0.3, color=COLOURS[label],
                          xerr=[[row["ratio"] - row["low"]], [row["high"] - row["ratio"]]], ecolor="#333333",
                          label=None if label in seen else label)
                seen.add(label)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{number} thread{'s' * (number > 1)}")
        axis.set_xlabel("peer's time / weir's (right of 1: weir is faster)")
        axis.legend(loc="lower right", fontsize=8)
    axes[0][0].set_yticks(range(len(cases)), cases)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(target, format="png", dpi=110)
    pyplot.close(figure)


def cell(row):
    if "ratio" not in row:
        return "<td>does not load</td>"
    return f"<td>{row['ratio']:.2f} <small>[{row['low']:.2f}, {row['high']:.2f}]</small></td>"


def page(results, picture):
    """The table and the picture as one page."""
    where = results[0]["machine"]
    rows = []
    for r in results:
        if "weir" not in r:
            rows.append(f"<tr><td>{html.escape(r['case'])}</td><td>{r['threads']}</td>"
                        f"<td colspan=9>{html.escape(str(r.get('error')))}</td></tr>")
            continue
        peers = {NAMES[name]: row for name, row in r["peers"].items()}
        weir = r["weir"]
        rows.append(
            f"<tr><td>{html.escape(r['case'])}</td><td>{r['threads']}</td><td>{weir['p50_ms']:.3f}</td>"
            f"<td>{weir['min_ms']:.3f}</td><td>{weir['p99_ms']:.3f}</td>"
            + cell(peers.get("ONNX Runtime", {})) + cell(peers.get("OpenVINO", {})) + cell(r["control"])
            + f"<td>{r['error_of_largest']:.0e}</td>"
            f"<td>{weir['create_ms']:.0f} / {weir['create_cached_ms']:.0f}</td>"
            f"<td>{weir['anonymous_bytes'] / 1e6:.0f} + {weir['file_bytes'] / 1e6:.0f}</td></tr>")
    data = base64.b64encode(picture).decode()
    return f"""<!doctype html><meta charset="utf-8"><title>weir beside its peers</title>
<style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse}}td,th{{padding:2px 8px;
border-bottom:1px solid #ddd;text-align:right}}td:first-child{{text-align:left}}small{{color:#666}}</style>
<h1>weir beside its peers</h1>
<p>{html.escape(where['cpu'])}, {where['cpus']} CPUs, {html.escape(' '.join(where['flags']))}; weir at
{html.escape(where['commit'])}, {where['date']}. f32, equal threads, resident processes in turns; the ratios
are a peer's time over ours (median of pairs, 95 % interval), above 1 weir is faster. "control" is weir
against itself.</p><img src="data:image/png;base64,{data}" alt="ratios">
<table><tr><th>case<th>threads<th>weir p50 ms<th>min<th>p99<th>ONNX Runtime<th>OpenVINO<th>control<th>error
<th>created / cached ms<th>MB anonymous + file</tr>
{chr(10).join(rows)}</table>"""


def write(results, plot, page_path):
    """plot, page_path: where to; None: not wanted."""
    picture = io.BytesIO()
    draw(results, picture)
    if plot:
        plot.write_bytes(picture.getvalue())
        print(f"wrote {plot}")
    if page_path:
        page_path.write_text(page(results, picture.getvalue()), encoding="utf-8")
        print(f"wrote {page_path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--plot", type=pathlib.Path)
    parser.add_argument("--html", type=pathlib.Path)
    arguments = parser.parse_args()
    lines = arguments.results.read_text(encoding="utf-8").splitlines()
    write([json.loads(line) for line in lines if line], arguments.plot, arguments.html)


if __name__ == "__main__":
    sys.exit(main())
