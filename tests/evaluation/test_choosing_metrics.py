"""`evaluation.metrics`: names as before, and metrics with settings of their own, which plans and runs store alike."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from unimm.component_config import ComponentConfig
from unimm.config import ConfigError, current, dump, load, read
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.suite import build_metrics, own_words, score_all
from unimm.evaluation.words import BUILT_IN, Words
from unimm.foundation.folder import Foundation
from unimm.registry import metrics
from unimm.runs.planned import config_hash
from unimm.schema import DEFAULT_METRICS, EvaluationConfig

ROOT = Path(__file__).parents[2]
ARM = ROOT / "ablations" / "vae_fm.yaml"


class Brightness(Metric):
    """Mean of all pixels; has a setting that must be given."""

    class Config(ComponentConfig):
        """``scale``: what white is."""

        scale: float

    needs = frozenset({"images"})
    words: ClassVar = {"brightness": Words("Light", "brightness"), "atoms/overall": Words("Light", "mine")}

    def __init__(self, config: Config, foundation: Any) -> None:
        self.config = config

    def score(self, evidence: Evidence) -> list[Score]:
        assert evidence.images is not None
        value = float(evidence.images.float().mean()) / 255 * self.config.scale
        return [Score("brightness", value, len(evidence.images), {"scale": self.config.scale})]


@pytest.fixture
def foundation() -> Foundation:
    return Foundation("scenes-nano")


@pytest.fixture
def brightness(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(metrics, "_targets", {**metrics._targets, "brightness": Brightness})
    return "brightness"


def chosen(*entries: Any) -> tuple[Any, ...]:
    return EvaluationConfig.model_validate({"metrics": entries}).metrics


def test_a_setting_reaches_its_metric(brightness: str, foundation: Foundation) -> None:
    (metric,) = build_metrics(chosen({"name": brightness, "scale": 100}), foundation)
    white = Evidence(images=torch.full((2, 3, 4, 4), 255, dtype=torch.uint8))
    assert score_all([metric], white) == [Score("brightness", 100.0, 2, {"scale": 100.0})]


def test_a_metric_by_name_alone_has_to_have_defaults(brightness: str, foundation: Foundation) -> None:
    with pytest.raises(ValueError, match=r"give it as \{name: brightness, scale: \.\.\.\}"):
        build_metrics([brightness], foundation)


def test_settings_are_stored_and_read_again(tmp_path: Path) -> None:
    config = load(ARM, ["evaluation.metrics=[geneval,{name:clip_score,distractors:4}]"])
    (tmp_path / "config.yaml").write_text(dump(config))
    assert "\n  - geneval\n  - name: clip_score\n    distractors: 4\n" in dump(config)
    assert read(tmp_path / "config.yaml") == config
    assert config.model_dump(mode="json")["evaluation"]["metrics"][1] == {"name": "clip_score", "distractors": 4}


@pytest.mark.parametrize("spelled", ["clip_score", {"name": "clip_score"}, {"name": "clip_score", "distractors": 9}])
def test_a_metric_as_it_comes_is_stored_by_its_name(spelled: Any) -> None:
    assert EvaluationConfig.model_validate({"metrics": ["geneval", spelled]}).model_dump(mode="json")["metrics"] == [
        "geneval",
        "clip_score",
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{name:clip_score,distractor:4}", r"metrics\.0\.distractor: metric clip_score reads no 'distractor'; "
         "did you mean 'distractors'\\? choices: distractors"),
        ("geneval,{name:distance,distractors:4}", r"metrics\.1\.distractors: metric distance reads no 'distractors'; "
         "it has no settings"),
        ("{name:clip_score,distractors:0}", r"metrics\.0\.distractors: .* greater than or equal to 1 \(given: 0\)"),
        ("{name:clip_scor,distractors:4}", "no 'clip_scor'; did you mean 'clip_score'"),
        ("genevil", "no 'genevil'; did you mean 'geneval'"),
        ("{distractors:4}", "give a name, one of: clip_score, distance"),
    ],
)  # fmt: skip
def test_what_no_metric_reads_is_refused(entries: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(ARM, [f"evaluation.metrics=[{entries}]"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("reports/*/plan.json")), ids=lambda path: path.parent.name)
def test_committed_plans_hold(path: Path) -> None:
    for name, arm in json.loads(path.read_text())["arms"].items():
        assert config_hash(arm["config"]) == arm["hash"]
        stored = arm["config"].get("evaluation", {}).get("metrics", list(DEFAULT_METRICS))
        assert current(arm["config"], path)["evaluation"]["metrics"] == stored, name


def test_built_in_metrics_are_checked_by_name_and_not_imported() -> None:
    before = set(sys.modules)
    assert chosen(*metrics.names()) == tuple(metrics.names())
    assert set(sys.modules) == before


def test_only_words_of_scores_that_are_not_built_in_travel(brightness: str, foundation: Foundation) -> None:
    (metric,) = build_metrics(chosen({"name": brightness, "scale": 1}), foundation)
    assert own_words([metric]) == {"brightness": Words("Light", "brightness")} and "atoms/overall" in BUILT_IN
    assert not own_words(build_metrics(["geneval", "distance", "diversity"], foundation))
