"""The machine as far as it decides the last bits of a result: processor, instruction sets, kernels; and its threads."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path

from threadpoolctl import threadpool_info

_CPUINFO = Path("/proc/cpuinfo")
# Those that libraries choose their kernels by; x86 first, then Arm.
_INSTRUCTION_SETS = ("avx", "avx2", "fma", "avx512f", "avx512vl", "avx512_bf16", "amx_tile", "asimd", "sve", "sve2")
_UNNAMED = "unknown"


def machine() -> dict[str, object]:
    """Return what of this machine can move the last bits of a number, and how many processors it has.

    ``processor`` is the model as the system names it, with family and model number where it gives them;
    ``instruction_sets``: those that kernels are chosen by; ``kernels``: the architectures that BLAS has chosen.
    """
    processor, instruction_sets = _processor()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor,
        "instruction_sets": list(instruction_sets),
        "kernels": sorted({str(p["architecture"]) for p in threadpool_info() if p.get("architecture")}),
        "cpus": os.cpu_count(),
    }


def threads() -> dict[str, int]:
    """Return how many threads each library that is loaded would use; no number may depend on them."""
    found: dict[str, int] = {}
    for pool in threadpool_info():
        name = str(pool["user_api"])
        found[name] = max(found.get(name, 0), int(pool["num_threads"]))
    for name in ("numba", "torch"):
        library = sys.modules.get(name)
        if library is not None:
            found[name] = int(library.get_num_threads())
    return dict(sorted(found.items()))


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the processor and its instruction sets from Linux's description of the first one."""
    fields: dict[str, str] = {}
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    name = fields.get("model name") or " ".join(
        f"{key} {fields[key]}" for key in ("cpu implementer", "cpu part") if key in fields
    )
    numbers = ", ".join(f"{key.split()[-1]} {fields[key]}" for key in ("cpu family", "model") if key in fields)
    flags = set((fields.get("flags") or fields.get("features") or "").split())
    known = tuple(name for name in _INSTRUCTION_SETS if name in flags)
    return re.sub(r"\s+", " ", f"{name} ({numbers})" if numbers else name or _UNNAMED), known


@cache
def _processor() -> tuple[str, tuple[str, ...]]:
    if _CPUINFO.is_file():
        return parse_cpuinfo(_CPUINFO.read_text(encoding="utf-8", errors="replace"))
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            told = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout
            return told.strip() or _UNNAMED, ()
    return platform.processor() or _UNNAMED, ()


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024
