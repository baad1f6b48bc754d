"""Stages as runs of their own: what each is told, what is refused, and what is handed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unimm.config import ConfigError, load, read
from unimm.report import page
from unimm.runs import stages
from unimm.runs.record import Result
from unimm.runs.run import Run
from unimm.schema import RunConfig

ABLATIONS = Path(__file__).parents[2] / "ablations"
TINY = ("profile=tiny", "evaluation.metrics=[geneval,understanding]", "training.checkpoint_every_steps=1000")
TWO = ("training.samples=64", "stages.pretrain.samples=32", "stages.instruct.samples=32")


def arm(*overrides: str) -> RunConfig:
    return load(ABLATIONS / "clip_fm.yaml", [*TINY, *TWO, *overrides])


def test_a_stage_is_a_run_with_what_it_has_of_its_own() -> None:
    config = arm(
        "seed=5",
        "stages.instruct.source={name: degraded_scenes, strength: 0.5}",
        "stages.instruct.learning_rate=1e-4",
        "stages.instruct.long_caption_share=0.5",
        "stages.instruct.strategy=joint",
    )
    first, second = stages.stage_configs(config).values()
    plain = load(ABLATIONS / "clip_fm.yaml", [*TINY, "seed=5", "training.samples=32"])
    assert first == plain.model_copy(update={"name": "clip_fm.pretrain"})
    assert (second.source.name, second.strategy.name) == ("degraded_scenes", "joint")
    assert second.strategy.config.understanding_samples == 64  # the tiny profile's
    assert (second.training.learning_rate, second.data.long_caption_share) == (1e-4, 0.5)
    assert second.seed == 5 and second.data.seed not in (None, 5) and not second.stages
    assert second.data.statistics_source == first.source


def test_every_stage_of_every_seed_has_a_stream_of_its_own() -> None:
    planned = arm()
    runs = [planned.model_copy(update={"seed": seed}) for seed in range(20)]
    seeds = [config.data.seed for run in runs for config in stages.stage_configs(run).values()]
    later = [seed for seed in seeds if seed is not None]
    assert len(later) == len(set(later)) == 20 and not set(later) & set(range(20))


def test_configurations_without_stages_mean_what_they_meant() -> None:
    config = load(ABLATIONS / "clip_fm.yaml")
    old = config.model_dump(mode="json")
    del old["stages"], old["data"]["seed"], old["data"]["statistics_source"]
    assert RunConfig.model_validate(old) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["stages.instruct.sample=3"],
            "stages.instruct.sample: stage instruct reads no 'sample'; did you mean 'samples'?",
        ),
        (["stages.tune.learning_rate=1e-4"], "stages.tune.samples: is required; set it"),
        (["stages.tune.samples=32"], "stages: their samples add up to 96.*set training.samples=96"),
        (
            ["stages.instruct.samples=8", "training.samples=40"],
            r"stages: instruct: samples \(8\) is less than one batch",
        ),
        (["stages.instruct.warmup_steps=2"], r"stages: instruct: warmup_steps \(2\) reaches the end"),
        (["stages.instruct.source=degraded"], "stages.instruct.source: sources: no 'degraded'; did you mean"),
        (
            ["stages.instruct.source={name: scenes, size: 3}"],
            "stages.instruct.source.size: source scenes reads no 'size'",
        ),
        (["stages.samples.samples=16", "training.samples=80"], "stages: 'samples' is the name of a folder"),
        (["stages.instruct.batch_size=8"], ".*reads no 'batch_size'; it belongs to training.batch_size"),
    ],
)
def test_mistakes_name_file_and_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"clip_fm.yaml: {message}"):
        arm(*overrides)


@pytest.mark.slow
@pytest.mark.timeout(900)  # two runs, each scored twice
def test_what_an_earlier_stage_trained_reaches_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joint training changes the backbone, which a sequential stage after it leaves out of its own weights."""
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    small = ("data.train_scenes=24", "evaluation.curve_prompts=1", "head.width=32", "head.layers=1", "head.heads=2")
    result = stages.run(arm("stages.pretrain.strategy=joint", *small), out)
    first, last = (load_file(out / name / "weights.safetensors") for name in ("pretrain", "instruct"))
    start = load_file(out / "instruct" / "start.safetensors")
    assert set(last) < set(first) == set(start)
    assert all(torch.equal(start[name], first[name]) for name in first)
    assert not (out / "pretrain" / "start.safetensors").exists()

    found = Result.model_validate_json((out / "result.json").read_text())
    assert found == result
    own = [Result.model_validate_json((out / s / "result.json").read_text()) for s in ("pretrain", "instruct")]
    assert [stage.strategy for stage in found.stages] == ["joint", "sequential"]
    assert found.scores == own[1].scores and found.stages[0].scores == own[0].scores
    assert found.counts.generation_samples == 64 and found.counts.steps == 4
    assert own[0].counts.understanding_before == 0 and own[0].counts.understanding_samples == 64
    before = own[1].counts.understanding_before
    assert before == own[1].counts.understanding_samples and found.counts.understanding_samples == 64
    assert found.invariants.backbone_unchanged is None and found.retention is None
    assert found.efficiency is not None and own[0].efficiency is not None and own[1].efficiency is not None
    assert found.efficiency.train_flops == own[0].efficiency.train_flops + own[1].efficiency.train_flops
    assert [(point.step, point.samples) for point in found.curve] == [(1, 16), (2, 32), (3, 48), (4, 64)]

    # The hashes that scoring wrote down hold only for an arm with both stages' weights.
    Run.finished(out).model()
    again = stages.score(out)
    assert again.scores == result.scores and again.stages == result.stages
    text = page.write(out).with_name("report.md").read_text()
    assert "Stages" in text and "| trained on | scenes | scenes |" in text
    assert (out / "pretrain" / "report.html").exists() and (out / "instruct" / "report.html").exists()
    assert list(read(out / "config.yaml").stages) == list(result.config["stages"]) == ["pretrain", "instruct"]
