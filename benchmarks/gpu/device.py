#!/usr/bin/env python3
"""What the GPU, its driver and the machine are, as JSON; with --opencl: which OpenCL drivers are there.

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
        return
    devices, driver = attributes()
    print(
        json.dumps(
            {
                "has_gpu": bool(devices),
                "name": devices[0]["name"] if devices else "no GPU",
                "driver": driver,
                "count": len(devices),
                "commit": output("git", "rev-parse", "--short", "HEAD") or os.environ.get("GPU_COMMIT", ""),
                "machine": platform.machine(),
                "cpus": os.cpu_count(),
                "devices": devices,
                "nvidia_smi": output("nvidia-smi", "-q").splitlines()[:400],
                "nvcc": output("nvcc", "--version").splitlines()[-1:],
            }
        )
    )


if __name__ == "__main__":
    main()
