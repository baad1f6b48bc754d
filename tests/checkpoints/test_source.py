"""Where a checkpoint lies: a folder, or the hub's snapshot of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from unimm.checkpoints import checkpoint_folder, config_folder, read_config


def test_a_folder_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name" / "vae").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    assert checkpoint_folder("owner/name") == Path("owner/name")
    assert checkpoint_folder("owner/name", "vae") == Path("owner/name/vae")
    with pytest.raises(ValueError, match=r"owner/name has no subfolder 'unet' \(subfolders: vae\)"):
        checkpoint_folder("owner/name", "unet")


def test_the_hub_gives_weights_or_configurations_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot(pretrained: str, allow_patterns: list[str]) -> str:
        asked.append((pretrained, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    (tmp_path / "vae").mkdir()
    assert checkpoint_folder("owner/name", "vae") == tmp_path / "vae"
    assert config_folder("owner/name") == tmp_path
    (_, whole), (_, configuration) = asked
    assert "vae/*.safetensors" in whole
    assert all(pattern.startswith("vae/") for pattern in whole)
    assert "*.json" in configuration
    assert not any("safetensors" in pattern or "bin" in pattern for pattern in configuration)


def test_a_hub_that_does_not_answer_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("no network\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(ValueError, match=r"pretrained=owner/name: no such folder.*\(no network\); download") as said:
        checkpoint_folder("owner/name")
    assert "and more" not in str(said.value)


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        read_config(tmp_path, "config.json", "give another")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json holds no settings; give another"):
        read_config(tmp_path, "config.json", "give another")


@pytest.mark.parametrize("path", ["./missing", "../missing", ".cache/model", "/missing", "missing", "~/model", "a/b/c"])
@pytest.mark.parametrize("folder", [checkpoint_folder, config_folder])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(
    path: str, folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ValueError, match=rf"pretrained={path}: no such folder, and not a hub id \(owner/name\)"):
        folder(path)


@pytest.mark.parametrize("name", ["owner/na--me", "owner/name.git", "owner/name."])
def test_a_name_that_the_hub_refuses_is_one_message(name: str) -> None:
    """By the hub's own check of names (HFValidationError), before it is asked."""
    with pytest.raises(ValueError, match=rf"pretrained={name}: no such folder, and the hub did not give it"):
        checkpoint_folder(name)
