"""What `unimm doctor` shows: versions, machine, disk, caches, and whether shipped foundations are whole."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unimm.cleaning import cached, mib
from unimm.files import cache_folder
from unimm.foundation.card import find, lies, verify

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "transformers",
    "diffusers",
    "open_clip_torch",
    "numpy",
    "scipy",
)
SHIPPED = Path(__file__).parent / "foundation" / "shipped"
GIB = 2**30


def report() -> Iterator[tuple[str, str]]:
    """(name, value) pairs, in the order to print."""
    yield "python", platform.python_version()
    for package in ("unimm", *PACKAGES):
        yield package, _version(package)
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    yield "memory", f"{_memory() / GIB:.1f} GiB"
    yield "device", _device()
    yield "ranks", _ranks()
    yield "disk", f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free here"
    yield "hub cache", os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    yield "unimm cache", f"{cache_folder()} ($UNIMM_CACHE; `unimm clean --cache` empties it)"
    for kind, paths in cached():
        yield "unimm cache", f"{mib(paths)} of {kind.what}"
    yield from _foundations()


def foundation_files(name: str) -> Iterator[str]:
    """The verified card of a foundation, one line per fact and per file."""
    folder = find(name)
    card = verify(folder)
    yield f"{folder}: every hash holds"
    for key, value in card.items():
        if key != "files":
            yield f"  {key}: {value}"
    for file, digest in card["files"].items():
        yield f"  {digest[:12]}  {lies(folder, card, file).stat().st_size / 2**20:7.2f} MiB  {file}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu ({torch.get_num_threads()} threads)"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"cuda {torch.version.cuda}: {', '.join(names)}"


def _ranks() -> str:
    from unimm.training.distributed import launcher, ranks_a_node

    environment = launcher()
    if environment is None:
        return "1 (neither torchrun nor srun started this process)"
    return f"{environment.world_size()}, {ranks_a_node(environment)} on each node; this is {environment.global_rank()}"


def _foundations() -> Iterator[tuple[str, str]]:
    folders = sorted(p for p in SHIPPED.iterdir() if p.is_dir()) if SHIPPED.exists() else []
    if not folders:
        yield "foundations", "none shipped"
    for folder in folders:
        try:
            card = verify(folder)
            yield "foundation", f"{folder.name}: {len(card['files'])} files, every hash holds"
        except ValueError as error:
            yield "foundation", f"{folder.name}: BROKEN: {error}"
