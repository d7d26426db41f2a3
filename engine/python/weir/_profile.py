"""Profiles: where the time of some runs went, step by step.

Why:  the engine notes two times per step; a person wants medians, shares, rates and a picture.
Must not: time anything itself.
"""

import json
import statistics


def _rate(amount, time_ns):
    """Per nanosecond, which is giga per second."""
    return amount / time_ns if time_ns else 0.0


class Profile:
    """What InferenceSession.profile() returns.

    steps:    a dict for each step, in order: index, origins, op, fused, device, kernel, shape,
              time_ns (median), share, flop, bytes, gflop_per_s, gb_per_s.
    run_ns:   the median of whole runs; steps_ns: the sum of the steps' medians.
    runs:     how many were noted.
    """

    def __init__(self):
        self.steps = []
        self.run_ns = self.steps_ns = self.runs = 0
        self._notes = []  # (run, steps) as the engine noted them

    def take(self, run, steps):
        """Adds the notes of one more run."""
        if self._notes and len(steps) != len(self._notes[0][1]):
            raise RuntimeError("runs on the same inputs made different steps: please report this")
        self._notes.append((run, steps))

    def finish(self):
        """Works out the medians of what was taken."""
        self.runs = len(self._notes)
        self.run_ns = int(statistics.median(run["duration_ns"] for run, _ in self._notes))
        for index, step in enumerate(self._notes[0][1]):
            times = [steps[index]["duration_ns"] for _, steps in self._notes]
            row = {"index": index, "time_ns": int(statistics.median(times))}
            row |= {k: v for k, v in step.items() if k not in ("start_ns", "duration_ns")}
            row["gflop_per_s"] = _rate(row["flop"], row["time_ns"])
            row["gb_per_s"] = _rate(row["bytes"], row["time_ns"])
            self.steps.append(row)
        self.steps_ns = sum(row["time_ns"] for row in self.steps)
        for row in self.steps:
            row["share"] = row["time_ns"] / self.steps_ns if self.steps_ns else 0.0
        return self

    def totals(self, key):
        """Time in ns by "op", "device" or "kernel", largest first."""
        found = {}
        for row in self.steps:
            found[row[key]] = found.get(row[key], 0) + row["time_ns"]
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def top(self, count=10):
        """The slowest steps as a table to print."""
        rows = [("step", "operator", "kernel", "output", "time", "share", "GFLOP/s", "GB/s")]
        for row in sorted(self.steps, key=lambda row: -row["time_ns"])[:count]:
            group = row["op"] == "Pointwise" and row["fused"]
            name = "+".join(filter(None, ("" if group else row["op"], row["fused"])))
            rows.append(
                (
                    (row["origins"] or row["op"])[:40],
                    name[:40],
                    f"{row['device']}:{row['kernel']}",
                    row["shape"],
                    f"{row['time_ns'] / 1e3:.1f} us",
                    f"{row['share']:.1%}",
                    f"{row['gflop_per_s']:.1f}" if row["flop"] else "-",
                    f"{row['gb_per_s']:.1f}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows
        )

    def __str__(self):
        return f"{self.top()}\n{self.run_ns / 1e3:.1f} us a run (median of {self.runs})"

    def save(self, path):
        """Writes the steps of every noted run as trace events, for Perfetto or Chrome."""
        zero = self._notes[0][0]["start_ns"]

        def event(name, kind, lane, note, **more):
            return {
                "name": name,
                "cat": kind,
                "ph": "X",
                "pid": 1,
                "tid": lane,
                "ts": (note["start_ns"] - zero) / 1e3,
                "dur": note["duration_ns"] / 1e3,
                "args": more,
            }

        devices = dict.fromkeys(row["device"] for row in self.steps)
        lanes = {name: number for number, name in enumerate(devices, 1)}
        events = []
        for number, (run, steps) in enumerate(self._notes):
            events.append(event("run", "run", 0, run, number=number))
            for step in steps:
                more = {k: v for k, v in step.items() if k not in ("start_ns", "duration_ns")}
                name = step["origins"] or step["op"]
                events.append(event(name, "step", lanes[step["device"]], step, **more))
        for name, lane in {"runs": 0, **lanes}.items():
            events.append(
                {"name": "thread_name", "ph": "M", "pid": 1, "tid": lane, "args": {"name": name}}
            )
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"displayTimeUnit": "ns", "traceEvents": events}, file)
