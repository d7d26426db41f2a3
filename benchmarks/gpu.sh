#!/usr/bin/env bash
# Everything that only a GPU can say about the CUDA plugin, in one call of at most ten minutes.
#
# usage: benchmarks/gpu.sh [--out FOLDER] [--seconds N] [--stages A,B] [--dry-run]
#
# Stages, in order: what is right comes before what is fast, and what says most in a minute before both. Each leaves
# FOLDER/STAGE.json; a stage whose file says "ok" is done, so that a call that was cut off, or could not do something,
# goes on where it was. One that failed or could not be done in an earlier call is done again when all others have
# a result. That holds for one state of the sources: results of another are put aside (STAGE.json.old).
# The build is brought up to date in each call, and without it no stage runs that needs it. --dry-run runs what a
# machine without a GPU can: models on the CPU plugin, the rest up to the point where a device is needed. Its results
# go to FOLDER-dry, so that none passes for a GPU's. Ends with 3: a stage has no whole result yet, so call again
# ("skipped" is one on a GPU and in a dry run); 1: a stage failed; 0.
#
# On a machine that is given back after each call of ten minutes: --seconds 540 (what it is without the option)
# leaves time to keep the results:
#     tar -C build/gpu -czf RESULTS.tgz --exclude ./build --exclude ./models --exclude ./cache .
# and to unpack them into build/gpu before the next call, which then does what is left. The build and the models are
# made anew. Where the sources come without git, GPU_COMMIT says which commit they are.
#
#   device      what the GPU, the driver and the machine are: every attribute, for later use without one
#   build       weir and its CUDA plugin for this GPU
#   smoke       one run of each tiny model; what it says of own kernels, or a crash, is shown at once
#   operators   every kernel against plain C on fresh inputs, and the rules of the plugin ABI (weir conform)
#   models      MiniLM and ResNet-50 (seeded weights) against the CPU plugin: f32, tf32, bf16, f16; every node of
#               them on the GPU, by the kernels of that precision
#   sanitizer   compute-sanitizer on tiny shapes, the own kernels alone
#   ceilings    copy bandwidth and bf16 GEMM of cuBLASLt: what shares are measured against
#   peers       weir, and in turns with it torch eager, CUDA graphs, JAX, torch.compile(max-autotune), same weights
#   load        weir bench: batches and shapes at random
#   profile     where the time of a run goes
#   opencl      OpenCL ICDs that are there
# Needs no network and no data: weights are made from seeds. Of tools it needs CMake, make or ninja, a C compiler,
# nvcc, Python with numpy, and xxHash's one header, xxhash.h (0.8): copied into a folder that CPATH names it is
# enough. Headers and libraries of CUDA may lie in Python's packages.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

out=build/gpu
seconds=540
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
# A folder in CPATH is searched as the system's are, without warnings; CMake builds elsewhere, so it is absolute.
if [ -n "${CPATH:-}" ]; then
    IFS=: read -ra folders <<<"$CPATH"
    CPATH="$(for folder in "${folders[@]}"; do [ -d "$folder" ] && (cd "$folder" && pwd); done | paste -sd :)"
    export CPATH C_INCLUDE_PATH="$CPATH${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}"
fi
started=$SECONDS
GPU_STAMP="$("$python" benchmarks/gpu/stamp.py)" || exit 2
export GPU_STAMP
# Each stage, and its limit in seconds.
rows="device:20 build:240 smoke:60 operators:180 models:200 sanitizer:80 ceilings:40 peers:200 load:30 profile:30"
rows="$rows opencl:10"
for row in $rows; do
    file="$out/${row%%:*}.json"
    [ ! -e "$file" ] || grep -qs "\"stamp\": \"$GPU_STAMP\"" "$file" || mv -f "$file" "$file.old" 2>/dev/null
done
# What they are made by may have changed, too.
grep -qsx "$GPU_STAMP" "$out/models/stamp" || rm -rf "$out/models"
mkdir -p "$out/models" && echo "$GPU_STAMP" >"$out/models/stamp"
built=" smoke operators models sanitizer peers load profile "
for name in $built; do
    case "$only" in *",$name,"*) only=",build$only" && break ;; esac
done

# XXH3 is in the header since 0.8.
has_xxhash() {
    echo '#include <xxhash.h>
int main(void) { return (int)(XXH3_128bits("", 0).low64 & 1); }' |
        "${CC:-cc}" -DXXH_INLINE_ALL -x c -fsyntax-only - 2>/dev/null
}
say_xxhash() {
    echo "there is no xxhash.h of 0.8 or newer: copy xxHash's one header, xxhash.h, into a folder and set CPATH to it"
}
[ -n "$(git rev-parse HEAD 2>/dev/null)$(printf %s "${GPU_COMMIT:-}")" ] ||
    echo "gpu.sh: WARNING: NOBODY WILL KNOW WHICH COMMIT THIS WAS: there is no git here, and GPU_COMMIT is not set" >&2
has_xxhash || echo "gpu.sh: WARNING: NOTHING CAN BE BUILT: $(say_xxhash)" >&2

left() { echo $((seconds - (SECONDS - started))); }

is_wanted() {
    case "${only:-,$1,}" in *",$1,"*) ;; *) return 1 ;; esac
}
says() { grep -qs "^ \"$2\": $3,$" "$out/$1.json"; }
is_ok() { says "$1" status '"ok"'; }
# Another call would not find more of it.
is_whole() {
    says "$1" whole true || return 1
    [ -n "$dry$gpu" ] || ! says "$1" status '"skipped"'
}

# stage NAME SECONDS COMMAND…: runs it with a limit; its last line that is a JSON object is the result.
stage() {
    local name="$1" limit="$2" need rc status
    shift 2
    if [[ "$built" == *" $name "* ]] && ! is_ok build; then
        echo "$name: there is no build of these sources"
        return 0
    fi
    # What cannot go on inside is not begun with less than it may take, unless a whole call is that short.
    case "$name" in
    build) need=15 ;;
    operators | models | peers) need=60 ;;
    *) need="$limit" ;;
    esac
    [ "$need" -gt $((seconds / 2)) ] && need=$((seconds / 2))
    if [ "$(left)" -lt "$need" ] || [ "$(left)" -lt 15 ]; then
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
    # Each case that these had ended is kept: the next call goes on behind them.
    case "$name:$rc" in
    build:124 | build:137 | operators:124 | operators:137 | models:124 | models:137) status=partial ;;
    sanitizer:124 | sanitizer:137 | peers:124 | peers:137) status=partial ;;
    esac
    "$python" benchmarks/gpu/result.py stage "$name" "$status" "$rc" "$out/$name.log" >"$out/$name.json.new" &&
        mv "$out/$name.json.new" "$out/$name.json"
    # It knows more: a part that nothing was added to is none.
    status="$(sed -n 's/^ "status": "\(.*\)",$/\1/p' "$out/$name.json")"
    [ "$name" = smoke ] && grep -E 'cuda:|own kernel|^smoke' "$out/$name.log" | cut -c 1-200 | head -n 30
    [ "$status" = failed ] && tail -n 12 "$out/$name.log" | cut -c 1-300
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
    has_xxhash || { say_xxhash; return 1; }
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
    has_gpu || {
        "$build/bin/weir" devices | grep -E '^cuda +[0-9.]+ +not usable' || return 1
        skip "there is no GPU"
        return 77
    }
    # All of the plugin's kernels have names of their own, which those of the device's groups lack.
    "$python" benchmarks/gpu/operators.py "$build/bin/weir" "$build/lib/weir/weir_cuda.so" "$out/conform" \
        --names '(cuda_' --seed "${GPU_SEED:-$(date +%s)}" --seconds "$((STAGE_SECONDS - 5))"
}
# A machine that was given back has the results, but not these any more.
need_models() { "$python" benchmarks/gpu/models.py "$out/models" "$@"; }
do_smoke() {
    local model rc bad=0
    has_gpu || [ -n "$dry" ] || { skip "there is no GPU"; return 77; }
    need_models minilm-tiny resnet-tiny || return 1
    for model in minilm-tiny resnet-tiny; do
        "$build/bin/weir" run "$out/models/$model.onnx" --random 1 --repeat 40 --verbose \
            --device "$([ -n "$dry" ] && echo cpu || echo cuda)" >"$out/smoke-$model.log" 2>&1
        rc=$?
        cat "$out/smoke-$model.log"
        grep -q 'own kernel' "$out/smoke-$model.log" && echo "smoke: $model: own kernels in place of libraries" && bad=1
        [ $rc = 0 ] || { echo "smoke: $model: exit code $rc" && bad=1; }
    done
    echo "{\"own_kernels_or_crashes\": $bad}"
    return $bad
}
do_models() {
    need_models || return 1
    "$python" benchmarks/gpu/accuracy.py "$build/bin/weir" "$out/models" --json "$out/models-rows.json" \
        --seconds "$((STAGE_SECONDS - 10))" ${dry:+--device cpu}
}
do_sanitizer() {
    local tool row rc todo="" passed="" failed="" added=0
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
    need_models minilm-tiny resnet-tiny || return 1
    for row in minilm-tiny:memcheck resnet-tiny:memcheck minilm-tiny:racecheck resnet-tiny:racecheck; do
        grep -qsx "$GPU_STAMP" "$out/sanitizer-${row/:/-}.ok" && passed="$passed ${row/:/-}" || todo="$todo $row"
    done
    for row in $todo; do
        "$tool" --tool "${row#*:}" --error-exitcode 9 "$build/bin/weir" run "$out/models/${row%:*}.onnx" --random 1 \
            --device cuda --option cuda.graphs=0,cuda.cublaslt=none,cuda.cudnn=none
        rc=$?
        if [ $rc = 0 ]; then
            echo "$GPU_STAMP" >"$out/sanitizer-${row/:/-}.ok"
            passed="$passed ${row/:/-}"
        else
            echo "sanitizer: ${row/:/-}: exit code $rc"
            failed="$failed${failed:+, }\"${row/:/-}: exit code $rc\""
        fi
        added=$((added + 1))
        echo "{\"added\": $added, \"left\": $(($(wc -w <<<"$todo") - added)), \"passed\": \"${passed# }\"," \
            "\"failed\": [$failed]}"
    done
    [ -z "$failed" ]
}
do_peers() {
    need_models || return 1
    TORCHINDUCTOR_CACHE_DIR="$out/peers/inductor" TRITON_CACHE_DIR="$out/peers/triton" \
        XLA_PYTHON_CLIENT_PREALLOCATE=false "$python" benchmarks/gpu/peers.py "$out/models" \
        --json "$out/peers-rows.json" --seconds "$((STAGE_SECONDS - 10))" ${dry:+--dry-run}
}
do_load() {
    local device=cuda
    need_models minilm || return 1
    has_gpu || { [ -n "$dry" ] && device=cpu; } || { skip "there is no GPU"; return 77; }
    "$build/bin/weir" bench "$out/models/minilm.onnx" --device "$device" --dim batch=1..16 \
        --dim sequence=16..128/16 --random-shapes --seconds "$([ -n "$dry" ] && echo 2 || echo 15)" --json
}
do_profile() {
    local device=cuda runs=20
    need_models minilm || return 1
    has_gpu || { [ -n "$dry" ] && device=cpu && runs=3; } || { skip "there is no GPU"; return 77; }
    "$build/bin/weir" profile "$out/models/minilm.onnx" --device "$device" --dim batch=1 --dim sequence=128 \
        --runs "$runs" --json
}

# A stage runs in a shell of its own, so that its limit holds for all that it starts.
export -f skip has_gpu has_xxhash say_xxhash need_models do_device do_build do_smoke do_operators do_models \
    do_sanitizer do_ceilings do_peers do_load do_profile do_opencl
export out build dry python nvcc headers
gpu=
has_gpu && gpu=1
again= # what has a result from an earlier call, but no good one
for row in $rows; do
    name="${row%%:*}"
    is_wanted "$name" || continue
    if [ "$name" != build ] && is_ok "$name"; then
        echo "$name: done before"
    elif [ "$name" != build ] && is_whole "$name"; then
        again="$again $row"
    else
        stage "$name" "${row##*:}" bash -c "do_$name"
    fi
done
for row in $again; do
    stage "${row%%:*}" "${row##*:}" bash -c "do_${row%%:*}"
done
missing=
for row in $rows; do
    name="${row%%:*}"
    # Without a build, which has failed, no call finds more.
    [[ "$built" == *" $name "* ]] && is_whole build && ! is_ok build && continue
    is_wanted "$name" && ! is_whole "$name" && missing="$missing $name"
done
"$python" benchmarks/gpu/result.py summary "$out" | tee "$out/summary.md"
[ -z "$missing" ] || { echo "gpu.sh: no whole result of:$missing; call again" >&2 && exit 3; }
for row in $rows; do
    says "${row%%:*}" status '"failed"' && exit 1
done
exit 0
