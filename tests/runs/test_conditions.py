"""Other ways to sample from one arm's weights: scores beside its own, from the same noise, under names of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from unimm.config import load
from unimm.evaluation.metric import Evidence, Score
from unimm.runs import conditions
from unimm.runs.conditions import Part, Shown, check_conditions, conditioned, with_conditions
from unimm.runs.run import Run
from unimm.runs.scoring import Scored, score_run
from unimm.sampling_config import Also, SamplingConfig
from unimm.strict_yaml import ConfigError
from unimm.study.expand import ways_to_sample

ABLATIONS = Path(__file__).parents[2] / "ablations"
CPU = torch.device("cpu")
SMALL = ("profile=tiny", "evaluation.metrics=[geneval,geneval_place]", "evaluation.prompts_per_task=2")
ALSO = "sampling.also={guidance: [1, 3], prompts_per_task: 1, choose_on: 1}"


def run_of(arm: str, folder: Path, *overrides: str) -> Run:
    """A run whose head is random, which follows no prompt and draws other images at other guidance."""
    run = Run(load(ABLATIONS / f"{arm}.yaml", [*SMALL, *overrides]), folder, CPU)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in run.arm.head.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    for part in (run.arm.backbone, run.arm.head, run.arm.decoder):
        part.eval()
    return run


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    run = run_of("vae_fm", tmp_path_factory.mktemp("run"), ALSO)
    return with_conditions(run, score_run(run))


def named(scores: list[Score]) -> dict[str, Score]:
    return {score.name: score for score in scores}


def test_every_condition_has_scores_and_floors_in_every_wording(scored: Scored) -> None:
    scores, floors = named(scored.scores), named(scored.floors["shuffled_prompts"])
    for way in ("guidance=1", "guidance=3", "guidance=chosen"):
        for kind in ("geneval", "atoms", "geneval_place", "atoms_place"):
            name = f"{kind}@{way}/overall"
            assert scores[name].n == 6 and name in floors
            assert set(scores[name].protocol["mean of"]) <= scores.keys()
    assert not any(name.startswith("combinations@") for name in scores)


def test_the_arms_own_guidance_has_the_arms_own_images(scored: Scored) -> None:
    """3 is the default, so that items at it are those of the same images, at their places."""
    scores = named(scored.scores)
    for kind in ("geneval/counting", "geneval_place/counting", "atoms/object"):
        own, at = scores[kind], scores[kind.replace("/", "@guidance=3/")]
        assert own.items is not None and at.items is not None
        there = [place for place, item in enumerate(at.items) if item is not None]
        assert there and [own.items[place] for place in there] == [at.items[place] for place in there]
        assert [scored.keys[place].endswith("/0") for place in there] == [True] * len(there)
        assert at.value == pytest.approx(sum(own.items[place] or 0 for place in there) / len(there))


def test_the_choice_is_one_of_the_offered_and_has_its_scores(scored: Scored) -> None:
    scores = named(scored.scores)
    chosen = scores["sampling/guidance"]
    assert chosen.value in (1, 3) and chosen.protocol["offered"] == [1, 3]
    assert chosen.protocol["wordings"] == ["short"] and chosen.n == 6, "the arm trains on no placed captions"
    way = f"guidance={chosen.value:g}"
    for kind in ("geneval@{}/overall", "atoms_place@{}/shape"):
        assert scores[kind.format("guidance=chosen")].value == scores[kind.format(way)].value


RIGHT = {"": {1: 0.9, 3: 0.1}, "long": {1: 0.4, 3: 0.6}}  # short prompts are better at 1, long ones at 3


@pytest.mark.parametrize(
    ("share", "chosen", "wordings"),
    [(1, 3.0, ["long"]), (0, 1.0, ["short"]), (0.1, 1.0, ["short", "long"])],
    ids=["long only", "short only", "both"],
)
def test_guidance_is_chosen_on_wordings_that_the_arm_was_trained_on(
    share: float, chosen: float, wordings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both wordings 1 is best (0.65 to 0.35), which an arm of long captions was given although it is worse."""

    def drawn(part: Part, arm: Any, noise: Any) -> torch.Tensor:
        right = round(100 * RIGHT[part.wording][int(arm.objective.config.guidance)])
        return torch.full((len(part.prompts), 3, 8, 8), right, dtype=torch.uint8)

    def judged(metrics: Any, evidence: Evidence) -> list[Score]:
        shown = {"atoms": evidence.images, "atoms_long": evidence.long_images}
        return [Score(f"{name}/overall", float(v[0, 0, 0, 0]), 6, {}) for name, v in shown.items() if v is not None]

    monkeypatch.setattr(Part, "drawn", drawn)
    monkeypatch.setattr(conditions, "score_all", judged)
    worded = "evaluation.metrics=[geneval,geneval_long]"
    run = run_of("vae_fm", tmp_path, ALSO, worded, f"data.long_caption_share={share}")
    also = run.config.sampling.also
    assert also is not None
    found = {condition.name: Shown([], [], []) for condition in also.conditions()}
    (choice,) = conditions._chosen(run, also, found).choice
    assert choice.value == chosen and choice.protocol["wordings"] == wordings
    assert choice.n == 6 * len(wordings)


def test_a_choice_on_untrained_wordings_alone_is_refused_before_training(tmp_path: Path) -> None:
    short_test, long_captions = "evaluation.metrics=[geneval]", "data.long_caption_share=1"
    with pytest.raises(
        ValueError, match=r"scored on short prompts and trains on long captions alone.*add geneval_long"
    ):
        check_conditions(run_of("vae_fm", tmp_path, ALSO, short_test, long_captions))
    check_conditions(run_of("vae_mse", tmp_path, ALSO, short_test, long_captions))  # nothing to choose
    with pytest.raises(ValueError, match="no metric of this run says which facts an image gets right; add geneval"):
        check_conditions(run_of("vae_fm", tmp_path, ALSO, "evaluation.metrics=[distance]"))


def test_guidance_changes_images_and_regression_has_none(tmp_path: Path) -> None:
    run = run_of("vae_fm", tmp_path, ALSO)
    also = run.config.sampling.also
    assert also is not None
    first, own = also.conditions()
    other = conditioned(run.arm, run.config, first)
    assert other is not None and other.head is run.arm.head and conditioned(run.arm, run.config, own) is None
    assert other.objective.config.guidance == 1 and run.arm.objective.config.guidance == 3  # type: ignore[attr-defined]
    regression = run_of("vae_mse", tmp_path, ALSO, "evaluation.metrics=[geneval]")
    assert conditioned(regression.arm, regression.config, first) is None
    scores = named(with_conditions(regression, score_run(regression)).scores)
    values = [scores[f"geneval@guidance={value}/overall"].items for value in ("1", "3", "chosen")]
    assert values[0] == values[1] == values[2] and "sampling/guidance" not in scores


def test_temperature_is_a_condition_of_likelihoods_alone(tmp_path: Path) -> None:
    """The same weights, and images that differ less; other objectives draw their own images there."""
    also = "sampling.also={temperature: [0, 1], prompts_per_task: 1}"
    run = run_of("vae_fm", tmp_path, "objective=mixture", also, "evaluation.metrics=[geneval]")
    assert run.config.sampling.also is not None
    cold, own = run.config.sampling.also.conditions()
    other = conditioned(run.arm, run.config, cold)
    assert other is not None and other.head is run.arm.head and conditioned(run.arm, run.config, own) is None
    assert other.objective.config.temperature == 0 and run.arm.objective.config.temperature == 1  # type: ignore[attr-defined]
    scores = named(with_conditions(run, score_run(run)).scores)
    assert {"geneval@temperature=0/overall", "geneval@temperature=1/overall"} <= scores.keys()
    flow = run_of("vae_fm", tmp_path, also)
    assert conditioned(flow.arm, flow.config, cold) is None


def test_a_decoder_that_is_not_there_is_found_before_training(tmp_path: Path) -> None:
    run = Run(load(ABLATIONS / "clip_fm.yaml", [*SMALL, "sampling.also={decoder: [nowhere/clean]}"]), tmp_path, CPU)
    with pytest.raises(ValueError, match="nowhere"):
        check_conditions(run)


@pytest.mark.parametrize(
    ("also", "fragment"),
    [
        ("{guidance: [1, 1.0]}", "guidance=1 stands there twice"),
        ("{decoder: [a/x, b/x]}", "decoder=x stands there twice"),
        ("{}", "names no other way to sample"),
        ("{guidance: [2], choose_on: 5}", "give sampling.also.guidance several"),
        ("{guidance: [0.5]}", "sampling.also.guidance"),
        ("{temperature: [-1]}", "sampling.also.temperature"),
        ("{temperature: [0, 0.0]}", "temperature=0 stands there twice"),
    ],
)
def test_mistakes_are_told(also: str, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(ABLATIONS / "vae_fm.yaml", ["profile=tiny", f"sampling.also={also}"])
    assert fragment in str(caught.value)


def test_configurations_without_dump_as_before_there_was_a_choice() -> None:
    assert SamplingConfig().model_dump() == {"decoder_steps": 10}
    also = Also(guidance=(1.0, 1.5), decoder=("x/noised",), choose_on=2)
    config = {"sampling": SamplingConfig(also=also).model_dump()}
    assert ways_to_sample(config) == ["guidance=1", "guidance=1.5", "decoder=noised", "guidance=chosen"]
    assert ways_to_sample({"sampling": {"decoder_steps": 5}}) == []
    assert "temperature" not in config["sampling"]["also"], "plans of before it have the hash that they had"
    warm = SamplingConfig(also=Also(temperature=(0.0, 0.5))).model_dump()
    assert SamplingConfig.model_validate(warm).also == Also(temperature=(0.0, 0.5))
    assert ways_to_sample({"sampling": warm}) == ["temperature=0", "temperature=0.5"]
