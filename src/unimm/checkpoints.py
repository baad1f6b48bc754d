"""Checkpoints of other libraries: where they lie, whether they are whole, and what they are.

``pretrained: <folder or hub id>`` names one. A folder that exists wins; anything else that looks like ``owner/name`` is
fetched from the hub into its cache. From then on there is one path for both, a folder in the library's own format. Only
JSON, tokenizer files and safetensors are fetched or read: nothing is unpickled. The configurations of well-known
checkpoints ship in ``configs/checkpoints/``, so that shapes and parameter counts need no hub.

Weights are loaded whole or not at all. The libraries fill gaps with random numbers and drop what they do not know, with
a warning. Here every weight of the model must be in the files with its shape, every weight in the files must belong to
the model, and a file that is cut short is named before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

KNOWN = Path(__file__).parent / "configs" / "checkpoints"
CONFIGS = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = ("*.safetensors",)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")  # no ./folder, ../folder or .hidden/folder
SHOWN = 5


def checkpoint_folder(pretrained: str, subfolder: str = "") -> Path:
    """The folder with configuration and weights.

    Raises:
        ValueError: neither a folder nor a hub id, or the hub cannot be reached or has no such checkpoint.
    """
    return _folder(pretrained, subfolder, (*CONFIGS, *WEIGHTS))


def config_folder(pretrained: str, subfolder: str = "") -> Path:
    """A folder with the configuration files alone: local, known to unimm, or fetched.

    Raises:
        ValueError: as `checkpoint_folder`.
    """
    known = KNOWN / pretrained.replace("/", "--") / subfolder
    if not Path(pretrained).is_dir() and known.is_dir():
        return known
    return _folder(pretrained, subfolder, CONFIGS)


def _folder(pretrained: str, subfolder: str, patterns: tuple[str, ...]) -> Path:
    root = Path(pretrained) if Path(pretrained).is_dir() else _fetched(pretrained, subfolder, patterns)
    folder = root / subfolder
    if not folder.is_dir():
        inside = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "none"
        raise ValueError(f"{pretrained} has no subfolder {subfolder!r} (subfolders: {inside})")
    return folder


def _fetched(pretrained: str, subfolder: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if not _HUB_ID.fullmatch(pretrained):
        raise ValueError(f"pretrained={pretrained}: no such folder, and not a hub id (owner/name)")
    wanted = [f"{subfolder}/{pattern}" if subfolder else pattern for pattern in patterns]
    try:
        return Path(snapshot_download(pretrained, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"pretrained={pretrained}: no such folder, and the hub did not give it "
            f"({str(error).splitlines()[0]}); download the checkpoint where there is a network and give its folder"
        ) from error


def on_hub(pretrained: str) -> bool:
    """Whether this is no folder here and could be the id of a checkpoint on the hub."""
    return not Path(pretrained).is_dir() and _HUB_ID.fullmatch(pretrained) is not None


def read_config(folder: Path, name: str, fix: str) -> dict[str, Any]:
    """A JSON file of the checkpoint.

    Raises:
        ValueError: it is missing or is not JSON; the message names the file and ``fix`` says what to do.
    """
    path = folder / name
    if not path.is_file():
        names = sorted(entry.name for entry in folder.iterdir())
        more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
        there = ", ".join([*names[:SHOWN], *more]) or "nothing"
        raise ValueError(f"{path} is missing ({folder} holds {there}); {fix}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings; {fix}")
    return content


def weight_files(folder: Path, stems: tuple[str, ...]) -> list[Path]:
    """The safetensors files of the first of ``stems`` that is there, as one file or as indexed shards.

    Raises:
        ValueError: none is there, a shard is missing, a file is cut short, or both one file and an index are there.
    """
    for stem in stems:
        index, whole = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
        if index.is_file() and whole.is_file():  # libraries load the one file then, without a look at the shards
            raise ValueError(f"{folder} holds both {whole.name} and {index.name}: remove the one that is out of date")
        if index.is_file():
            return [_whole(folder / shard, f"{index.name} lists it; ") for shard in _shards(index)]
        if whole.is_file():
            return [_whole(whole, "")]
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".pth"))
    found = f"it holds {', '.join(others)}" if others else "it holds no weights at all"
    raise ValueError(
        f"{folder / f'{stems[0]}.safetensors'} is missing ({found}): unimm reads safetensors only, never pickles; "
        "save the checkpoint as safetensors with its own library"
    )


def _shards(index: Path) -> list[str]:
    """The files that an index names."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{index} is cut short or no index of weights ({what}); copy the checkpoint again") from error


def _whole(path: Path, why: str) -> Path:
    if not path.is_file():
        raise ValueError(f"{path} is missing ({why}the checkpoint is partial); copy the whole checkpoint again")
    try:
        with safe_open(path, "pt"):
            return path
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}); copy the checkpoint again") from error


def files_hash(files: Iterable[Path], *facts: object) -> str:
    """16 hex digits over the files' bytes, in order, and over whatever else decides what the model returns."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def check_complete(source: Path, model: str, report: Mapping[str, Any], foreign: tuple[str, ...] = ()) -> None:
    """Refuse a load report (of transformers or diffusers) with gaps or leftovers.

    Args:
        source: the folder, for the message.
        model: the library class, for the message.
        report: what ``output_loading_info=True`` returned.
        foreign: prefixes of weights that belong to another part of the same checkpoint, such as its text tower.

    Raises:
        ValueError: a weight is missing, has another shape, or belongs to nothing; the message names them.
    """
    mismatched = [str(entry if isinstance(entry, str) else entry[0]) for entry in report["mismatched_keys"]]
    unexpected = [key for key in report["unexpected_keys"] if not key.startswith(foreign or ("\0",))]
    problems = [
        _named("lacks", report["missing_keys"]),
        _named("has another shape of", mismatched),
        _named("has what the model does not know:", unexpected),
        *report.get("error_msgs", ()),
    ]
    found = "; ".join(problem for problem in problems if problem)
    if found:
        raise ValueError(
            f"{source} does not hold a whole {model}: it {found}. Give a complete checkpoint of this model, "
            "with the config.json that belongs to it"
        )


def _named(what: str, keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what} {', '.join(names[:SHOWN])}{more}" if names else ""


@contextmanager
def reading(source: Path, model: str) -> Iterator[None]:
    """Library errors while reading as one ValueError, and the libraries' own advice silenced: ours is stricter."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except (OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"cannot read {source} as {model}: {str(error).strip() or type(error).__name__}; give a folder that this "
            "model's save_pretrained wrote"
        ) from error
    finally:
        logging.disable(before)
