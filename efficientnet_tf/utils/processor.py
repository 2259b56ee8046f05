"""The processor of this machine: measurements mean nothing without it."""

import os
import pathlib
import platform

# What decides how fast bfloat16 and int8 are.
_FEATURES = (
    "avx2 avx512f avx512_vnni avx_vnni avx512_bf16 amx_bf16 amx_int8 "
    "asimddp bf16 i8mm"
).split()


def name() -> str:
    """Returns the model's name, as far as the system knows it."""
    return _read("model name") or platform.processor()


def describe() -> dict[str, object]:
    """Returns "name", "cores", and the "features" that matter for speed."""
    # "flags" on x86, "Features" on ARM.
    found = (_read("flags") or _read("Features")).split()
    return {
        "name": name(),
        "cores": count_cores(),
        "features": " ".join(word for word in _FEATURES if word in found),
    }


def count_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(field):
    """Returns the first value of a field of /proc/cpuinfo, or ""."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == field:
            return value.strip()
    return ""
