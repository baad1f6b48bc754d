"""What real images score depends on no training: kept once for all runs alike, and for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unimm.analysis.judging import FactCard, KindRead
from unimm.config import load
from unimm.encoders.pixels import Pixels
from unimm.evaluation.benchmark import Benchmark
from unimm.evaluation.metric import Evidence
from unimm.runs import ceilings as kept
from unimm.runs.run import Run

ARM = Path(__file__).parents[2] / "ablations" / "vae_fm.yaml"
SMALL = ("profile=tiny", "evaluation.metrics=[geneval,distance]", "evaluation.prompts_per_task=1")
NO_OTHER = ()


def untrained(*overrides: str) -> tuple[Run, Evidence]:
    """A run that has not trained, and what its test holds besides generated images."""
    run = Run(load(ARM, [*SMALL, *overrides]), Path("none"), torch.device("cpu"))
    reference = run.benchmark.reference()
    return run, Evidence(prompts=run.benchmark.test()[0], reference=reference, training=reference)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNIMM_CACHE", str(tmp_path))
    return tmp_path


def test_runs_of_other_seeds_and_objectives_share_what_was_measured_to_the_bit(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, evidence = untrained()
    colours = {"colour": KindRead(true=160, accepted=152, false=160, found=8)}
    cards = {"evaluator a": FactCard(source="by hand", pictures=120, kinds=colours)}
    monkeypatch.setattr(Benchmark, "cards", lambda test: cards)
    measured = kept.measured(run, evidence, NO_OTHER)
    assert measured.judge_cards == cards
    assert kept.ceilings(run, evidence, NO_OTHER) == measured
    assert measured.scores["real"]["geneval/overall"] == 1 and measured.judge_card is not None
    monkeypatch.setattr(kept, "measured", lambda *_: pytest.fail("measured again"))
    other, its = untrained("seed=1", "objective=mse")
    assert kept.ceilings(other, its, NO_OTHER) == measured
    (path,) = cache.glob("ceilings-*.json")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"ceilings-\w+\.json .*delete it to have it computed again"):
        kept.ceilings(run, evidence, NO_OTHER)


def test_whatever_moves_a_ceiling_has_another_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, evidence = untrained()
    assert evidence.training is not None
    keys = [kept._key(run, evidence), kept._key(run, replace(evidence, training=255 - evidence.training))]
    keys += [
        kept._key(*untrained(change)) for change in ("encoder.standardise=false", "evaluation.images_per_prompt=2")
    ]
    edited = {name: code.model_copy(update={"files": "edited"}) for name, code in run.code.items()}
    monkeypatch.setitem(run.__dict__, "code", edited)
    keys.append(kept._key(run, evidence))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    keys.append(kept._key(run, evidence))
    assert None not in keys and len(set(keys)) == len(keys)


def test_what_has_no_hash_is_measured_by_every_run(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a photo of a red circle\n")
    assert kept._key(*untrained(f"evaluation.prompts={tmp_path / 'prompts.txt'}")) is None
    assert kept._key(*untrained("evaluation.metrics=[geneval,fid]")) is None
    run, evidence = untrained()
    run.arm.decoder = Pixels(Pixels.Config(patch=4, standardise=False), 64).decoder(run.arm.foundation, 1)
    assert kept._key(run, evidence) is None
