"""The machine that figures were measured on, in words."""

import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess

PACKAGES = ("jax", "flax", "numpy", "tensorflow-cpu", "tensorflow", "torch", "scikit-learn")


def cores():
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def load():
    """Mean number of runnable processes over the last minute."""
    return os.getloadavg()[0]


def describe():
    """Processor, cores, memory, GPU if there is one, and versions: one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = _gpu()
    return (
        f"{_processor()}, {cores()} cores, {memory:.0f} GiB{f', {gpu}' if gpu else ''};"
        f" {', '.join(versions)}"
    )


def _processor():
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _gpu():
    """Names of NVIDIA's GPUs, or ""; asked of the driver, so that no library takes memory here."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True)
    return "; ".join(found.stdout.strip().splitlines()) if found.returncode == 0 else ""
