"""``pretrained: <folder or hub id>``: the folder that holds a checkpoint's files.

A folder that exists wins; anything else that looks like ``owner/name`` is fetched from the hub into its cache. From
then on there is one path for both, a folder in the library's own format. Only JSON, tokenizer files and safetensors are
fetched or read: nothing is unpickled. The configurations of well-known checkpoints ship in ``known/``, so that
shapes and parameter counts need no hub.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

KNOWN = Path(__file__).parent / "known"
CONFIGS = ("*.json", "*.jinja", "*.txt", "*.model")
WEIGHTS = ("*.safetensors",)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not _HUB_ID.fullmatch(pretrained):
        raise ValueError(f"pretrained={pretrained}: no such folder, and not a hub id (owner/name)")
    wanted = [f"{subfolder}/{pattern}" if subfolder else pattern for pattern in patterns]
    try:
        return Path(snapshot_download(pretrained, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"pretrained={pretrained}: no such folder, and the hub did not give it "
            f"({str(error).splitlines()[0]}); download the checkpoint where there is a network and give its folder"
        ) from error


def read_config(folder: Path, name: str, fix: str) -> dict[str, Any]:
    """A JSON file of the checkpoint.

    Raises:
        ValueError: it is missing or is not JSON; the message names the file and ``fix`` says what to do.
    """
    path = folder / name
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise ValueError(f"{path} is missing ({folder} holds {there}); {fix}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON ({error}); copy the checkpoint again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings; {fix}")
    return content
