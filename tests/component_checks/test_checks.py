"""Good components pass every check; those that break one promise fail the check of that promise, and say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from unimm.cli import app
from unimm.component_checks.bench import Check
from unimm.component_checks.checking import check_component, kind_of
from unimm.foundation.folder import Foundation
from unimm.objectives.flow_matching import FlowMatching
from unimm.registry import KINDS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def foundation() -> Foundation:
    return Foundation("scenes-nano")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))


def checks(name: str, foundation: Foundation, *settings: str) -> dict[str, Check]:
    if issubclass(KINDS[kind_of(name)].get(name), FlowMatching):
        settings = (*settings, "steps=2")
    return {check.name: check for check in check_component(name, settings, foundation, CPU)}


@pytest.mark.parametrize("name", ["pixels", "cosine", "flow_matching", "mse", "dit", "linear", "causal_lm", "geneval"])
def test_built_in_components_keep_every_promise(name: str, foundation: Foundation) -> None:
    found = checks(name, foundation)
    assert {check.verdict for check in found.values()} == {"ok"}, found
    assert {"builds", "repeats", "seconds"} <= found.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "clip", "unet", "distance", "diversity", "clip_score"])
def test_slower_ones_too(name: str, foundation: Foundation) -> None:
    settings = ["channels=[32,64]", "transformer_layers=[0,1]", "head_channels=32"] if name == "unet" else []
    assert {check.verdict for check in checks(name, foundation, *settings).values()} == {"ok"}


@pytest.mark.parametrize(
    ("name", "check", "verdict", "found"),
    [
        ("Mislabelled", "shapes", "broken", r"promises \[32, 16, 99\]"),
        ("OffGrid", "shapes", "broken", "rows times columns has to be tokens"),
        ("Moody", "repeats", "broken", "the same images a second time: differs by"),
        ("Sociable", "batches", "broken", "an image alone and among others: differs by"),
        ("Grid", "images", "broken", "images are in [0, 1]; scale them"),
        ("Dct", "scale", "doubt", "derive the class from unimm.encoders.calibrated.CalibratedEncoder"),
        ("Forgetful", "ceiling", "doubt", "no training can score higher"),
        ("LossByItem", "loss", "broken", "it has to be a scalar tensor"),
        ("LossSum", "batches", "broken", "the loss of a batch and the mean of its samples' losses"),
        ("SamplesFlat", "samples", "broken", "it has to be [8, 16, 8]"),
        ("Undetermined", "noise", "broken", "other noise gives other samples, and deterministic is True"),
        ("Spreading", "shape", "broken", "it has to predict one of the latents' shape"),
        ("Distracted", "given", "broken", "under conditions that were given before, and all at once"),
        ("Wordless", "built", "broken", "has no tokenizer, queries: set them in __init__"),
        ("NaughtyMetric", "scores", "broken", "two scores called 'same'"),
        ("UpsideDown", "direction", "doubt", "grey images score better than scenes: edges"),
        ("UpsideDown", "words", "doubt", "no words for wordless"),
    ],
)
def test_a_broken_promise_is_found(name: str, check: str, verdict: str, found: str, foundation: Foundation) -> None:
    all_found = checks(f"wrong_components:{name}", foundation)
    assert all_found[check].verdict == verdict, all_found
    assert found.replace("\\", "") in all_found[check].found


def test_a_raw_transform_comes_back_and_a_blank_one_does_not(foundation: Foundation) -> None:
    raw = checks("wrong_components:Dct", foundation)
    assert raw["ceiling"].verdict == "ok" and raw["images"].verdict == "ok"
    assert checks("wrong_components:Forgetful", foundation)["scale"].verdict == "ok"


def test_what_a_component_raises_is_a_finding_with_its_line(foundation: Foundation) -> None:
    found = checks("clip", foundation, "grid=3")["shapes"]
    assert found.verdict == "broken" and "encoder.grid=3" in found.found and found.found.startswith("clip.py:")


def test_metrics_that_need_a_run_say_so(foundation: Foundation) -> None:
    found = checks("understanding", foundation)
    assert found["needs"].verdict == "doubt" and "answers, which only a run gives" in found["needs"].found
    assert "scores" not in found


def test_the_kind_is_found_by_name_or_base_class() -> None:
    assert [kind_of(name) for name in ("vae", "mse", "wrong_components:Spreading")] == [
        "encoders",
        "objectives",
        "heads",
    ]
    for name, reason in (
        ("joint", "strategies, which have no checks"),
        ("nothing", "no component 'nothing'"),
        ("wrong_components:Scaled", "decoders, which have no checks"),
        ("pathlib:Path", "derives from none of the base classes"),
    ):
        with pytest.raises(ValueError, match=reason):
            kind_of(name)


def test_the_verb_prints_lines_or_json_and_ends_with_2_where_a_promise_is_broken() -> None:
    good = CliRunner().invoke(app, ["check-component", "mse"])
    assert good.exit_code == 0, good.output
    assert all(line.startswith(("ok ", " ")) and len(line) <= 80 for line in good.stdout.splitlines())
    bad = CliRunner().invoke(app, ["check-component", "wrong_components:LossSum", "steps=1", "--json"])
    assert bad.exit_code == 2
    assert [row["name"] for row in json.loads(bad.stdout) if row["verdict"] == "broken"] == ["batches"]
    typo = CliRunner().invoke(app, ["check-component", "flow_matching", "guidence=2"])
    assert typo.exit_code == 2 and "reads no 'guidence'; did you mean 'guidance'?" in typo.stderr
