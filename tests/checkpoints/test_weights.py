"""The files of a checkpoint's weights: which they are, and what is wrong with a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unimm.checkpoints import weight_files

STEMS = ("model",)
INDEX = "model.safetensors.index.json"


def write(path: Path) -> Path:
    save_file({"a": torch.zeros(1)}, path)
    return path


def test_shards_are_those_that_the_index_names(tmp_path: Path) -> None:
    shards = [write(tmp_path / f"model-0000{number}-of-00002.safetensors") for number in (1, 2)]
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {str(n): path.name for n, path in enumerate(shards)}}))
    assert weight_files(tmp_path, STEMS) == shards


def test_one_file_beside_an_index_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model.safetensors")
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "model.safetensors"}}')
    with pytest.raises(ValueError, match=r"both model\.safetensors and model\.safetensors\.index\.json: remove"):
        weight_files(tmp_path, STEMS)


@pytest.mark.parametrize(
    "text", ["", '{"weight_map": {"a": "mod', "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": ["x"]}}', "\xff"]
)
def test_an_index_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json is cut short or no index of weights"):
        weight_files(tmp_path, STEMS)
