#!/usr/bin/env python3
"""What the GPU, its driver and the machine are, as JSON; with --opencl: which OpenCL drivers are there; with
--probe: does an empty kernel run?

Every attribute of the driver is kept by its number, so that questions that come up later need no GPU.
"""

import ctypes
import glob
import json
import os
import platform
import subprocess
import sys

ATTRIBUTES = 160  # numbers of CUdevice_attribute that are asked for


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def opencl():
    icds = {path: open(path).read().strip() for path in glob.glob("/etc/OpenCL/vendors/*.icd")}
    found = output("sh", "-c", "ldconfig -p | grep -i -E 'opencl|nvidia-opencl'")
    return {"icds": icds, "libraries": found.splitlines(), "clinfo": output("clinfo", "-l").splitlines()}


EMPTY = b""".version 7.0
.target sm_80
.address_size 64
.visible .entry empty() { ret; }
"""


def probe():
    """The first call of the driver that fails, and its result; None: none."""
    driver = ctypes.CDLL("libcuda.so.1")
    device, context, module, kernel = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    one = [ctypes.c_uint(1)] * 6
    calls = (("cuInit", 0), ("cuDeviceGet", ctypes.byref(device), 0),
             ("cuDevicePrimaryCtxRetain", ctypes.byref(context), device), ("cuCtxSetCurrent", context),
             ("cuModuleLoadData", ctypes.byref(module), EMPTY),
             ("cuModuleGetFunction", ctypes.byref(kernel), module, b"empty"),
             ("cuLaunchKernel", kernel, *one, ctypes.c_uint(0), None, None, None), ("cuCtxSynchronize",),
             ("cuModuleUnload", module), ("cuDevicePrimaryCtxRelease_v2", device))
    for name, *arguments in calls:
        code = getattr(driver, name)(*arguments)
        if code:
            return f"{name}: {code}"
    return None


def attributes():
    """By device: {number: value}, and its name; [] without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        return [], str(error)
    count, version = ctypes.c_int(), ctypes.c_int()
    code = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    if code:
        return [], f"cuInit or cuDeviceGetCount: {code}"
    devices = []
    for index in range(count.value):
        handle, value, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(100)
        driver.cuDeviceGet(ctypes.byref(handle), index)
        driver.cuDeviceGetName(name, 100, handle)
        known = {}
        for number in range(1, ATTRIBUTES):
            if driver.cuDeviceGetAttribute(ctypes.byref(value), number, handle) == 0:
                known[number] = value.value
        devices.append({"name": name.value.decode(), "attributes": known})
    return devices, f"{version.value // 1000}.{version.value % 1000 // 10}"


def main():
    if "--opencl" in sys.argv:
        print(json.dumps(opencl()))
        return 0
    if "--probe" in sys.argv:
        failed = probe()
        print(failed or "an empty kernel runs")
        return 1 if failed else 0
    devices, driver = attributes()
    commit = output("git", "rev-parse", "--short", "HEAD")
    print(
        json.dumps(
            {
                "has_gpu": bool(devices),
                "name": devices[0]["name"] if devices else "no GPU",
                "driver": driver,
                "count": len(devices),
                "commit": commit or os.environ.get("GPU_COMMIT", ""),
                # Without git nobody knows; the stamp says which sources these are in any case.
                "dirty": bool(output("git", "status", "--porcelain")) if commit else None,
                "stamp": os.environ.get("GPU_STAMP", ""),
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
                "devices": devices,
                "nvidia_smi": output("nvidia-smi", "-q").splitlines()[:400],
                "nvcc": output("nvcc", "--version").splitlines()[-1:],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
