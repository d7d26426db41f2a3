#!/usr/bin/env bash
# Everything that only a GPU can say about the CUDA plugin, in one call of at most ten minutes.
#
# usage: benchmarks/gpu.sh [--out FOLDER] [--seconds N] [--stages A,B] [--dry-run]
#
# Stages, in order: what is right comes before what is fast. Each leaves FOLDER/STAGE.json; a stage whose file
# says "ok" is done, so that a call that was cut off, or could not do something, goes on where it was. That holds
# for one state of the sources: results of another are put aside (STAGE.json.old). The build is brought up to date
# in each call, and without it no stage runs that needs it. --dry-run
# runs what a machine without a GPU can: models on the CPU plugin, the rest up to the point where a device is
# needed. Its results go to FOLDER-dry, so that none passes for a GPU's. Ends with 0; 1: a stage failed; 3: none
# failed, but a stage has no whole result yet (in a dry run "skipped" is one).
#   device      what the GPU, the driver and the machine are: every attribute, for later use without one
#   build       weir and its CUDA plugin for this GPU
#   operators   every kernel against plain C on fresh inputs, and the rules of the plugin ABI (weir conform)
#   models      MiniLM and ResNet-50 (seeded weights) against the CPU plugin: f32, tf32, bf16, f16; every node of
#               them on the GPU, by the kernels of that precision
#   sanitizer   compute-sanitizer on tiny shapes, the own kernels alone
#   ceilings    copy bandwidth and bf16 GEMM of cuBLASLt: what shares are measured against
#   peers       torch eager, torch.compile(max-autotune), CUDA graphs, JAX and weir, same weights, in turns
#   load        weir bench: batches and shapes at random
#   profile     where the time of a run goes
#   opencl      OpenCL ICDs that are there
# Needs no network and no data: weights are made from seeds. Of tools it needs CMake, make or ninja, a C compiler,
# nvcc, and Python with numpy; headers and libraries of CUDA may lie in Python's packages.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

out=build/gpu
seconds=570
only=
dry=
while [ $# -gt 0 ]; do
    case "$1" in
    --out) out="${2:?}" && shift ;;
    --seconds) seconds="${2:?}" && shift ;;
    --stages) only=",${2:?}," && shift ;;
    --dry-run) dry=1 ;;
    *) sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2 && exit 2 ;;
    esac
    shift
done
[ -n "$dry" ] && out="${out%/}-dry"
mkdir -p "$out" || exit 2
out="$(cd "$out" && pwd)"
python="$(command -v python3 || command -v python)" || { echo "gpu.sh: there is no Python" >&2 && exit 2; }
build="$out/build"
export WEIR_CACHE_DIR="$out/cache" WEIR_LIBRARY="$build/lib/libweir.so"
export PYTHONPATH="$PWD/engine/python${PYTHONPATH:+:$PYTHONPATH}"
# What toolkits and Python's packages have; the former first. The plugin loads its libraries by name.
headers="$("$python" benchmarks/gpu/packages.py include)"
libraries="$("$python" benchmarks/gpu/packages.py lib)"
nvcc="$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$libraries"
started=$SECONDS
GPU_STAMP="$("$python" benchmarks/gpu/stamp.py)" || exit 2
export GPU_STAMP
for file in "$out"/*.json; do
    case "$(basename "$file" .json)" in
    device | build | operators | models | sanitizer | ceilings | peers | load | profile | opencl)
        grep -qs "\"stamp\": \"$GPU_STAMP\"" "$file" || mv -f "$file" "$file.old" 2>/dev/null ;;
    esac
done
built=" operators models sanitizer peers load profile "
for name in $built; do
    case "$only" in *",$name,"*) only=",build$only" && break ;; esac
done

left() { echo $((seconds - (SECONDS - started))); }

is_wanted() {
    case "${only:-,$1,}" in *",$1,"*) ;; *) return 1 ;; esac
}

# stage NAME SECONDS COMMAND…: runs it with a limit; its last line that is a JSON object is the result.
stage() {
    local name="$1" limit="$2" rc status
    shift 2
    is_wanted "$name" || return 0
    if [ "$name" != build ] && grep -qs '"status": "ok"' "$out/$name.json"; then
        echo "$name: done before"
        return 0
    fi
    if [[ "$built" == *" $name "* ]] && ! grep -qs '"status": "ok"' "$out/build.json"; then
        echo "$name: there is no build of these sources"
        return 0
    fi
    if [ "$(left)" -lt 15 ]; then
        echo "$name: no time left; call again"
        return 0
    fi
    [ "$limit" -gt "$(left)" ] && limit="$(left)"
    echo "$name: at most $limit s"
    STAGE_SECONDS="$limit" timeout -k 5 "$limit" "$@" >"$out/$name.log" 2>&1
    rc=$?
    case "$rc" in
    0) status=ok ;;
    75) status=partial ;;
    77) status=skipped ;;
    *) status=failed ;;
    esac
    # Each case that it had ended is in its rows: the next call goes on behind them.
    [ "$name" = peers ] && { [ "$rc" = 124 ] || [ "$rc" = 137 ]; } && status=partial
    "$python" benchmarks/gpu/result.py stage "$name" "$status" "$rc" "$out/$name.log" >"$out/$name.json.new" &&
        mv "$out/$name.json.new" "$out/$name.json"
    echo "$name: $status"
}

# What a stage cannot do here; 77 is what it then ends with. 75: it goes on at the next call.
skip() {
    echo "{\"why\": \"$1\"}"
}
has_gpu() { [ -z "$dry" ] && nvidia-smi -L >/dev/null 2>&1; }

do_device() { "$python" benchmarks/gpu/device.py; }
do_ceilings() {
    local include=() folder
    [ -x "$nvcc" ] || { skip "there is no nvcc"; return 77; }
    IFS=';' read -ra folders <<<"$headers"
    for folder in "${folders[@]}"; do include+=(-I "$folder"); done
    "$nvcc" -O2 -std=c++17 -arch="$([ -n "$dry" ] && echo sm_90 || echo native)" "${include[@]}" \
        -o "$out/ceilings" benchmarks/gpu/ceilings.cu -ldl || return 1
    has_gpu || { skip "compiled; there is no GPU to run it on"; return 77; }
    "$out/ceilings"
}
do_opencl() { "$python" benchmarks/gpu/device.py --opencl; }
do_build() {
    local archs arch generator="Unix Makefiles"
    if has_gpu; then
        arch="$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)"
        archs="sm_$arch;compute_80"
        [ "$arch" = 90 ] && archs="sm_90a;compute_80"
    else
        archs="sm_90a;compute_80"
    fi
    # Another machine's compiler may warn of more; and it may have neither ninja nor the libraries of tests and
    # of the scheduler.
    command -v ninja >/dev/null && [ ! -f "$build/Makefile" ] && generator=Ninja
    cmake -S . -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DWEIR_TESTS=OFF \
        -DWEIR_BENCHMARKS=OFF -DWEIR_SCHEDULER=OFF -DWEIR_CUDA_ARCHS="$archs" -DWEIR_CUDA_HINTS="$headers" \
        -DWEIR_WERROR="$([ -n "$dry" ] && echo ON || echo OFF)" || return 1
    cmake --build "$build" -j "$(nproc)" --target weir weir_cli weir_cpu weir_cuda || return 1
    "$build/bin/weir" devices
    echo "{\"archs\": \"$archs\"}"
}
do_operators() {
    local seed="${GPU_SEED:-$(date +%s)}" json
    has_gpu || {
        "$build/bin/weir" devices | grep -E '^cuda +[0-9.]+ +not usable' || return 1
        skip "there is no GPU"
        return 77
    }
    json="$("$build/bin/weir" conform "$build/lib/weir/weir_cuda.so" --seed "$seed" --json)"
    local rc=$?
    echo "$json" >"$out/conform.json"
    "$python" benchmarks/gpu/result.py conform "$seed" "$out/conform.json"
    return $rc
}
do_models() {
    "$python" benchmarks/gpu/models.py "$out/models" || return 1
    "$python" benchmarks/gpu/accuracy.py "$build/bin/weir" "$out/models" ${dry:+--device cpu}
}
do_sanitizer() {
    local tool model
    tool="$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")"
    [ -x "$tool" ] || { skip "there is no compute-sanitizer"; return 77; }
    has_gpu || { skip "there is no GPU"; return 77; }
    # Where a machine keeps it from the device it fails for a program that has no defect, too.
    "$python" benchmarks/gpu/device.py --probe || { echo "an empty kernel does not run" && return 1; }
    if ! "$tool" --error-exitcode 9 "$python" benchmarks/gpu/device.py --probe >"$out/sanitizer-probe.log" 2>&1; then
        cat "$out/sanitizer-probe.log"
        skip "compute-sanitizer fails for an empty kernel: $(grep '=====' "$out/sanitizer-probe.log" |
            tr -d '"\\' | tr -s '= \n' ' ' | cut -c 1-200)"
        return 77
    fi
    for model in minilm-tiny resnet-tiny; do
        for check in memcheck racecheck; do
            "$tool" --tool "$check" --error-exitcode 9 "$build/bin/weir" run "$out/models/$model.onnx" --random 1 \
                --device cuda --option cuda.graphs=0,cuda.cublaslt=none,cuda.cudnn=none || return 1
        done
    done
    echo '{"tools": ["memcheck", "racecheck"], "models": ["minilm-tiny", "resnet-tiny"]}'
}
do_peers() {
    XLA_PYTHON_CLIENT_PREALLOCATE=false "$python" benchmarks/gpu/peers.py "$out/models" \
        --json "$out/peers-rows.json" --seconds "$((STAGE_SECONDS - 10))" ${dry:+--dry-run}
}
do_load() {
    local device=cuda
    has_gpu || { [ -n "$dry" ] && device=cpu; } || { skip "there is no GPU"; return 77; }
    "$build/bin/weir" bench "$out/models/minilm.onnx" --device "$device" --dim batch=1..16 \
        --dim sequence=16..128/16 --random-shapes --seconds "$([ -n "$dry" ] && echo 2 || echo 15)" --json
}
do_profile() {
    local device=cuda runs=20
    has_gpu || { [ -n "$dry" ] && device=cpu && runs=3; } || { skip "there is no GPU"; return 77; }
    "$build/bin/weir" profile "$out/models/minilm.onnx" --device "$device" --dim batch=1 --dim sequence=128 \
        --runs "$runs" --json
}

# A stage runs in a shell of its own, so that its limit holds for all that it starts.
export -f skip has_gpu do_device do_ceilings do_opencl do_build do_operators do_models do_sanitizer do_peers \
    do_load do_profile
export out build dry python nvcc headers
missing=
whole="\"status\": \"(ok|failed${dry:+|skipped})\""
for row in device:20 build:240 operators:120 models:100 sanitizer:80 ceilings:40 peers:200 load:30 profile:30 \
    opencl:10; do
    stage "${row%%:*}" "${row##*:}" bash -c "do_${row%%:*}"
    is_wanted "${row%%:*}" && ! grep -qsE "$whole" "$out/${row%%:*}.json" && missing="$missing ${row%%:*}"
done
"$python" benchmarks/gpu/result.py summary "$out" | tee "$out/summary.md"
grep -qs '"status": "failed"' "$out"/*.json && exit 1
[ -z "$missing" ] || { echo "gpu.sh: no whole result of:$missing; call again" >&2 && exit 3; }
