"""What this machine has and lacks for Pyrite, each lack with its remedy."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from .core.free_memory import free_memory

State = Literal["ok", "missing", "broken"]
_DISTRIBUTION = "pyrite"
_GIB = 2**30
# below these the default recipe does not fit
_LEAST_MEMORY, _LEAST_DISK = 2 * _GIB, 2 * _GIB
_DEVELOPERS = ("dev", "docs")
# whether they are set, never what to
_ENVIRONMENT = (
    "CI",
    "CUDA_VISIBLE_DEVICES",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "JAVA_HOME",
    "OMP_NUM_THREADS",
    "OPENAI_API_KEY",
    "WANDB_API_KEY",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: `missing` is not needed by all, `broken` stops every verb."""

    topic: str
    name: str
    value: str
    state: State = "ok"
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order in which they are shown."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether what every verb needs is there."""
        return all(found.state != "broken" for found in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For `--json`: whether all is well, and the findings as objects."""
        return {"healthy": self.healthy, "findings": [asdict(found) for found in self.findings]}


def diagnose() -> Diagnosis:
    """Look at this machine. Nothing is changed or downloaded, no secret is read out."""
    parts = (_machine, _needed, _gpu, _faiss, _java, _extras, _environment)
    return Diagnosis(tuple(found for part in parts for found in _safe(part)))


def _safe(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A part that fails is a finding itself: a doctor has to come to an end."""
    try:
        yield from part()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        yield Finding(part.__name__.strip("_"), "check", reason, "broken", "mend that, look again")


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "python", f"{platform.python_version()} on {platform.platform()}")
    # not everywhere can a process be bound to some of the cores
    bound = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    yield Finding("machine", "processor cores", str(len(bound)))
    free, total = free_memory()
    advice = "lower encoder.batch_tokens and train.batch_size"
    yield _room("memory", free, total, _LEAST_MEMORY, advice)
    places = {
        "here": Path.cwd(),
        "hub cache": _hub_cache(),
        "temporary": Path(tempfile.gettempdir()),
    }
    for name, path in places.items():
        there = next(p for p in (path, *path.parents) if p.exists())
        usage = shutil.disk_usage(there)
        advice = "make room, or point runs_dir and cache_dir at another disk"
        yield _room(f"disk, {name}", usage.free, usage.total, _LEAST_DISK, advice)


def _room(name: str, free: float, total: float, least: float, advice: str) -> Finding:
    value = f"{free / _GIB:,.1f} of {total / _GIB:,.1f} GiB free"
    short = free < least
    return Finding("machine", name, value, "missing" if short else "ok", advice if short else "")


def _hub_cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def requirements() -> dict[str, list[Requirement]]:
    """What the installed distribution asks for, by extra; `` is what every user gets."""
    found: dict[str, list[Requirement]] = {"": []}
    for line in metadata.requires(_DISTRIBUTION) or []:
        need = Requirement(line)
        extra = str(need.marker).rpartition("extra == ")[2].strip("\"'") if need.marker else ""
        found.setdefault(extra, []).append(need)
    return found


def installed(need: Requirement) -> tuple[str, bool]:
    """The version that is there (empty: none), and whether it is in the range."""
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return "", False
    return version, need.specifier.contains(version, prereleases=True)


def _needed() -> Iterator[Finding]:
    yield Finding("packages", _DISTRIBUTION, metadata.version(_DISTRIBUTION))
    for need in requirements()[""]:
        # the GPU build takes its place
        if need.name == "faiss-cpu" and installed(Requirement("faiss-gpu"))[0]:
            continue
        version, fits = installed(need)
        value = version or "not installed"
        advice = "" if fits else f"pip install '{need.name}{need.specifier}'"
        yield Finding("packages", need.name, value, "ok" if fits else "broken", advice)


def _gpu() -> Iterator[Finding]:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    yield Finding("gpu", "torch build", f"{torch.__version__}, {build}")
    if not torch.cuda.is_available():
        driver = shutil.which("nvidia-smi") is not None
        advice = "pip install torch for CUDA, see pytorch.org" if driver else ""
        yield Finding("gpu", "devices", "none usable", "missing" if driver else "ok", advice)
        return
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        value = f"{torch.cuda.get_device_name(number)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB"
        yield Finding("gpu", f"cuda:{number}", f"{value} free")


def _faiss() -> Iterator[Finding]:
    both = all(installed(Requirement(name))[0] for name in ("faiss-cpu", "faiss-gpu"))
    if both:
        advice = "pip uninstall faiss-cpu faiss-gpu, then pip install one of them"
        yield Finding("faiss", "packages", "faiss-cpu and faiss-gpu", "broken", advice)
        return
    faiss = importlib.import_module("faiss")
    options = faiss.get_compile_options().strip()
    yield Finding("faiss", "build", f"{faiss.__version__}, {options}")
    count = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    yield Finding("faiss", "GPUs", str(count))


def _java() -> Iterator[Finding]:
    from .indexes.lucene_index import JAVA_VERSION, java_here

    version = java_here()
    if version is not None and version >= JAVA_VERSION:
        yield Finding("java", "version", str(version))
        return
    value = "none" if version is None else str(version)
    advice = f"for lexical.backend=lucene: Java {JAVA_VERSION}, or pip install 'pyrite[lucene]'"
    yield Finding("java", "version", value, "missing", advice)


def _extras() -> Iterator[Finding]:
    for extra, needs in requirements().items():
        if not extra or extra in _DEVELOPERS:
            continue
        lacks = [need.name for need in needs if not installed(need)[1]]
        if not lacks:
            yield Finding("extras", extra, ", ".join(need.name for need in needs))
            continue
        advice = f"pip install 'pyrite[{extra}]'"
        if extra == "gpu":
            advice = f"with an NVIDIA GPU: pip uninstall faiss-cpu, then {advice}"
        yield Finding("extras", extra, f"without {', '.join(lacks)}", "missing", advice)


def _environment() -> Iterator[Finding]:
    for name in _ENVIRONMENT:
        yield Finding("environment", name, "set" if os.environ.get(name) else "not set")
