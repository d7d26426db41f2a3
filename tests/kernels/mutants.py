#!/usr/bin/env python3
"""Shows that the kernel tests find defects: each mutant is one edit that a tired person could make.

Goal:   tail, stride, mask, epilogue order, accumulator and more: planted in the CPU kernels or their plugin,
        each must make the kernel tests fail; unmutated they must pass.
Method: a copy of the tree in a temporary folder, built once; each edit is made there, the kernel tests are
        built and run, the edit is taken back. The text an edit replaces must be in its file exactly once,
        so a mutant that the code has outgrown is noticed, not skipped.
Must not: touch the tree that it was started from.

usage: mutants.py [--jobs N] [--keep FOLDER] [NAME...]
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ["test_kernels_cpu", "test_kernels_cpu_rows", "test_kernels_cpu_plugin", "test_kernels_attention",
            "test_kernels_cpu_blocked", "test_kernels_cpu_blocked_conv", "test_kernels_cpu_operators"]
TEST_SECONDS = 120

# name, what it does wrong, file, text, replacement
MUTANTS = [
    ("tail", "the last vector of a sum is read whole", "kernels/cpu/rows/rows_body.inc",
     "v_t e = count - i < V_WIDTH ? v_load_n(x + i, count - i) : v_load(x + i);\n        sum.lanes[v] = squares",
     "v_t e = v_load(x + i);\n        sum.lanes[v] = squares"),
    ("tail-panel", "the columns behind a matrix's last are not zero in the last panel",
     "kernels/cpu/rows/rows_body.inc",
     "        if (columns < WEIR_K_PANEL)\n            memset(to, 0, k * WEIR_K_PANEL * sizeof(*to));\n", ""),
    ("stride", "rows of C lie as far apart as the block is wide", "backends/cpu/matmul.c",
     ".c_row = state->n,", ".c_row = block->columns,"),
    ("stride-pixel", "a strided row of a convolution is read without its stride", "backends/cpu/conv_shape.c",
     "*to++ = row[i * stride + offset];", "*to++ = row[i + offset];"),
    ("stride-tile", "the second half of a tile's rows is found by K, not by the distance of rows",
     "kernels/cpu/gemm/weir_k_gemm_f32_12x32__avx2.c",
     "*a3 = rows > 3 ? a + 3 * a_row : a;", "*a3 = rows > 3 ? a + 3 * block->k : a;"),
    ("mask", "a masked store writes one lane too many", "kernels/cpu/simd/avx2.h",
     "_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane)",
     "_mm256_cmpgt_epi32(_mm256_set1_epi32((int)n + 1), lane)"),
    ("mask-sum", "lanes behind a row's end count in attention's sum", "kernels/cpu/attention/attention_body.inc",
     "        if (n < V_WIDTH)\n            e = v_select(there, e, v_set1(0.0f));\n", ""),
    ("epilogue-order", "the activation comes before what is added", "kernels/cpu/conv/conv_body.inc",
     "    if (add)\n        FINISH_ALL(\n",
     "    if (finish->activation == WEIR_K_RELU)\n        FINISH_ALL(v_max2(v_set1(0.0f), x))\n"
     "    if (add)\n        FINISH_ALL(\n"),
    ("epilogue-early", "an epilogue is applied after the first block of K", "backends/cpu/matmul.c",
     "if (state->has_program && k0 + depth == state->k)", "if (state->has_program && k0 == 0)"),
    ("accumulator", "a resumed sum begins at zero", "kernels/cpu/gemm/weir_k_gemm_f32_12x32__avx2.c",
     "sum[i][v] = block->resume ? _mm256_maskload_ps(c + (size_t)i * c_row + v * 8, mask[v])\n"
     "                        : start ",
     "sum[i][v] = start && !block->resume "),
    ("accumulator-tree", "half of the accumulators of a sum are left out", "kernels/cpu/rows/rows_body.inc",
     "for (size_t half = SUM_VECTORS / 2; half > 0; half /= 2)\n        for (size_t v = 0; v < half; v++)\n"
     "            sums[v] =",
     "for (size_t half = SUM_VECTORS / 4; half > 0; half /= 2)\n        for (size_t v = 0; v < half; v++)\n"
     "            sums[v] ="),
    ("chain", "a product is rounded before it is added, on one instruction set",
     "kernels/cpu/gemm/weir_k_gemm_f32_12x32__plain.c",
     "sum[x] = fmaf(a[k * block->a_k], b[k * block->b_k + x], sum[x]);",
     "sum[x] += a[k * block->a_k] * b[k * block->b_k + x];"),
    ("nan", "an activation turns NaN into a number", "kernels/cpu/map/map_f32_body.inc",
     "MAP_F32(relu_f32, 1, v_max2(ZERO, x))", "MAP_F32(relu_f32, 1, v_max2(x, ZERO))"),
    ("broadcast", "a matrix that all batches share is walked on", "backends/cpu/matmul.c",
     "state->a_batch[d] = a_dim == 1 ? 0 : a_distance;", "state->a_batch[d] = a_distance;"),
    ("stride-columns", "rows to fold lie as far apart as they are wide", "kernels/cpu/fold/fold_body.inc",
     "        const float *row = x + i * x_row;\n        for (size_t j = 0; j < columns; j += V_WIDTH) {\n"
     "            const v_t e =",
     "        const float *row = x + i * columns;\n        for (size_t j = 0; j < columns; j += V_WIDTH) {\n"
     "            const v_t e ="),
    ("gates", "two gates of an LSTM change places", "kernels/cpu/fold/fold_body.inc",
     "const v_t forget = f32_sigmoid(v_load_n(gates + 2 * count + j, n));",
     "const v_t forget = f32_sigmoid(v_load_n(gates + count + j, n));"),
    ("edge", "a window takes one column behind the last", "kernels/cpu/blocked/window_body.inc",
     "end += at < r->width;", "end += at <= r->width;"),
    ("block-tail", "a lane behind a last block's channels is not cleared", "backends/cpu/blocked.c",
     "for (uint64_t lane = used; lane < WEIR_K_BLOCK; lane++)",
     "for (uint64_t lane = used + 1; lane < WEIR_K_BLOCK; lane++)"),
]


def has_avx2():
    return re.search(r"^flags\s*:.* avx2 ", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE) is not None


def run(command, folder, seconds=None):
    """(exit status, output); a run past its time has status None."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace")
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return None, output
    return process.returncode, output


class Copy:
    """The tree's copy and its build."""

    def __init__(self, folder, jobs):
        self.source, self.build, self.jobs = folder / "source", folder / "build", str(jobs)
        ignored = shutil.ignore_patterns("build", ".git", "__pycache__", "corpus")
        shutil.copytree(ROOT, self.source, ignore=ignored, dirs_exist_ok=True)
        # The bits are the same at any level of optimisation, and this one compiles in a fifth of the time. The
        # second flag lets gcc clear the upper halves of registers, without which plain C crawls after AVX.
        self.edit("kernels/cpu/CMakeLists.txt", "set(weir_cpu_optimise -O3)",
                  "set(weir_cpu_optimise -O1 -fexpensive-optimizations)")
        status, output = run(["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja",
                              "-DCMAKE_BUILD_TYPE=Release", "-DWEIR_BENCHMARKS=OFF"], folder)
        if status:
            sys.exit(f"mutants.py: cmake failed:\n{output}")

    def edit(self, file, old, new):
        """What the file held. The edit must fit exactly one place."""
        path = self.source / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"mutants.py: {file} has {text.count(old)} places, not 1, with the text\n{old}")
        path.write_text(text.replace(old, new))
        return text

    def make(self):
        status, output = run(["cmake", "--build", self.build, "-j", self.jobs, "--target", *PROGRAMS], self.source)
        if status:
            sys.exit(f"mutants.py: it does not build:\n{output[-3000:]}")

    def tests(self, stop_at_first):
        """The tests that failed, as program: test."""
        failures = []
        for program in PROGRAMS:
            status, output = run([self.build / "bin" / program], self.source, TEST_SECONDS)
            if status == 0:
                continue
            names = list(dict.fromkeys(re.findall(r"\[  FAILED  \] (\w+)\s*$", output, re.MULTILINE)))
            why = "no end" if status is None else f"signal {-status}" if status < 0 else f"status {status}"
            failures += [f"{program.removeprefix('test_')}: {name}" for name in names or [why]]
            if stop_at_first:
                break
        return failures


def main():
    parser = argparse.ArgumentParser(description="Defects planted in the CPU kernels, and the tests that find them.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--keep", type=pathlib.Path, help="build here and leave it there")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    unknown = set(options.names) - {mutant[0] for mutant in MUTANTS}
    if unknown:
        sys.exit(f"mutants.py: no mutant {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not options.names or mutant[0] in options.names]
    with tempfile.TemporaryDirectory(prefix="weir-mutants-") as temporary:
        folder = (options.keep or pathlib.Path(temporary)).resolve()
        begin = time.monotonic()
        copy = Copy(folder, options.jobs)
        for _, _, file, old, new in MUTANTS:  # all of them first: an edit that fits nowhere is said at once
            (copy.source / file).write_text(copy.edit(file, old, new))
        copy.make()
        failures = copy.tests(stop_at_first=False)
        print(f"unmutated: {'; '.join(failures) or 'every kernel test passes'} "
              f"({time.monotonic() - begin:.0f} s)", flush=True)
        passed, failed = not failures, bool(failures)
        # By file: what one mutant's end and the next one's beginning both build is built once.
        for name, what, file, old, new in sorted(chosen, key=lambda mutant: mutant[2]):
            if "avx2" in file and not has_avx2():
                print(f"{name:16s} not tried: this machine has no AVX2")
                continue
            begin = time.monotonic()
            before = copy.edit(file, old, new)
            copy.make()
            failures = copy.tests(stop_at_first=True)
            (copy.source / file).write_text(before)
            passed, failed = passed + bool(failures), failed + (not failures)
            print(f"{name:16s} {what}\n{'':16s} {'caught by ' + '; '.join(failures) if failures else 'NOT CAUGHT'} "
                  f"({time.monotonic() - begin:.0f} s)", flush=True)
    print(f"kernel mutants: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
