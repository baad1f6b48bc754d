"""A run's folder takes the same run only, whichever unimm stored its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from unimm.config import dump, load
from unimm.runs.outcome import claim, prepare

ARM = Path(__file__).parents[2] / "ablations" / "vae_mse.yaml"


@pytest.fixture
def config() -> Any:
    return load(ARM, ["profile=tiny"])


def store(out: Path, config: Any, **training: Any) -> None:
    """The folder of a run whose configuration was stored with other settings of training; None leaves one out."""
    content = yaml.safe_load(dump(config))
    changed = {**content["training"], **training}
    content["training"] = {key: value for key, value in changed.items() if value is not None}
    out.mkdir()
    (out / "config.yaml").write_text(yaml.safe_dump(content))


def test_a_folder_without_a_newer_setting_is_resumed(tmp_path: Path, config: Any) -> None:
    store(tmp_path / "run", config, weight_decay=None)
    with pytest.raises(FileExistsError, match="--resume continues it"):
        prepare(config, tmp_path / "run", resume=False, overwrite=False)
    prepare(config, tmp_path / "run", resume=True, overwrite=False)
    assert (tmp_path / "run/config.yaml").read_text() == dump(config)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"weight_decay": 0.1}, r"another configuration.*training.weight_decay is 0.1 there and 0.01 now$"),
        ({"momentum": 0.9}, r"another configuration.*training.momentum: training reads no 'momentum'"),
        ({"samples": None}, r"another configuration.*training.samples: is required"),
    ],
)
def test_another_run_is_refused_by_name(tmp_path: Path, config: Any, training: Any, message: str) -> None:
    store(tmp_path / "run", config, **training)
    before = (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(FileExistsError, match=message):
        prepare(config, tmp_path / "run", resume=True, overwrite=False)
    assert (tmp_path / "run/config.yaml").read_text() == before
    prepare(config, tmp_path / "run", resume=False, overwrite=True)
    assert (tmp_path / "run/config.yaml").read_text() == dump(config)


def test_a_start_that_fails_takes_its_claim_back_unless_it_left_something(tmp_path: Path, config: Any) -> None:
    out, mended = tmp_path / "run", config.model_copy(update={"seed": 5})

    def start(settings: Any, leaves: tuple[str, ...], resume: bool) -> None:
        with claim(settings, out, resume, overwrite=False):
            for name in leaves:
                (out / name).touch()
            raise RuntimeError("no memory")

    def fail(settings: Any, *leaves: str, resume: bool = False) -> None:
        with pytest.raises(RuntimeError, match="no memory"):
            start(settings, leaves, resume)

    fail(config)
    assert not out.exists()
    fail(mended)  # the mended configuration is not refused for the failed one
    fail(config, "metrics.jsonl")
    assert (out / "config.yaml").is_file(), "what a start left belongs to its configuration"
    with pytest.raises(FileExistsError, match="another configuration"), claim(mended, out, True, overwrite=False):
        pass
    fail(config, resume=True)
    assert (out / "config.yaml").is_file()
