"""A run's result as pages read it: what older files hold otherwise, or do not hold although it follows from them.

Every reader of `result.json` goes through `as_read`: the pages of runs and studies, and pandas frames. Files stay as
they were written.

- Understanding above blind. Answers count only above what the same backbone answers without the image: a backbone that
  learns which answers are frequent gains without looking. Older results hold both scores, and here their difference.
- FLOPs of training. Older runs counted their first eight steps, of which none, one or two had long captions: one
  configuration has as many figures as seeds, off by -7 to +3 % from that of all steps. `pooled` gives every run of an
  arm their mean, so that comparisons at equal FLOPs do not follow a seed's luck.
- The shape of latents. Older results do not hold it; it is read off the shipped foundation whose hash they name.
- CLIP scores. `torchmetrics` clamps the mean of cosines at 0, so that older results say 0.0 where images suit their
  prompts less than not at all. Here it is the mean of the items; the floors of such runs, which kept no items, are not
  known.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from safetensors import safe_open

from unimm import foundation
from unimm.evaluation.words import LESS_BLIND, above_blind
from unimm.files import EXPORTED
from unimm.runs import record
from unimm.runs.record import ITEMS, RESULT, Items, LatentShape, NamedScores, Result, RunFolder, ScoreRecord

SHIPPED = Path(foundation.__file__).parent / "shipped"
CLAMPED = ("clip_score/", "bias/clip_score/")


def read(run_dir: Path) -> RunFolder:
    """Read the run in `run_dir`; ValueError says which file is missing or malformed."""
    run = record.read(run_dir)
    return RunFolder(run.path, as_read(run.result, read_items(run_dir)), run.steps, run.samples, run.config)


def read_items(run_dir: Path) -> Items | None:
    """Its `items.json`, or None if it has none, as older runs; ValueError for one that is malformed."""
    path = run_dir / ITEMS
    return record.read_record(path, Items) if path.is_file() else None


def finished_runs(folder: Path) -> Iterator[tuple[str, Path, Result]]:
    """Every finished run in ``folder`` or below: its place there, its folder and its result, in the order of names.

    Raises:
        ValueError: there is none, or a ``result.json`` cannot be read.
    """
    found = False
    for place, below, files in os.walk(folder):
        below.sort()
        if EXPORTED in files:  # an export holds the result of the run that it was made from
            below.clear()
        elif RESULT in files:
            below.clear()
            found = True
            path = Path(place)
            result = as_read(record.read_record(path / RESULT, Result), read_items(path))
            yield path.relative_to(folder).as_posix(), path, result
    if not found and (folder / record.CONFIG).is_file():
        raise ValueError(record.unfinished(folder))
    if not found:
        raise ValueError(f"{folder} holds no finished run (none has {RESULT}): give a run, a study or a folder of runs")


def as_read(result: Result, items: Items | None) -> Result:
    """The result with what follows from it."""
    return _shaped(_above_blind(_unclamped(result, items)))


def pooled(results: Sequence[Result]) -> list[Result]:
    """Runs of one arm: FLOPs that were counted on a few steps of each are the mean over runs of as many steps."""
    budgets = {(result.counts.steps, result.counts.generation_samples) for result in results}
    spent = [result.efficiency for result in results if result.efficiency is not None]
    if len(spent) < len(results) or all(each.passes for each in spent) or len(budgets) > 1:
        return list(results)
    mean = {key: fmean(getattr(each, key) for each in spent) for key in ("train_flops", "train_flops_per_sample")}
    return [
        result.model_copy(update={"efficiency": each.model_copy(update=mean | {"passes": []})})
        for result, each in zip(results, spent, strict=True)
    ]


def _above_blind(result: Result) -> Result:
    """Scores of understanding less the blind ones, with floor (0) and ceiling, where the run did not take them."""
    blind = result.floors.get("blind", {})
    names = [score.name for score in result.scores]
    asked = [score for score in result.scores if above_blind(score.name) and blind.get(score.name) is not None]
    missing = [score for score in asked if score.value is not None and above_blind(score.name) not in names]
    if not missing:
        return result
    derived = [_less(score, blind) for score in missing]
    most = {above_blind(score.name): 1 - (blind[score.name] or 0) for score in missing}
    return result.model_copy(
        update={
            "scores": [*result.scores, *derived],
            "floors": result.floors | {"blind": blind | {score.name: 0.0 for score in derived}},
            "ceilings": result.ceilings | {"all_right": result.ceilings.get("all_right", {}) | most},
        }
    )


def _less(score: ScoreRecord, blind: NamedScores) -> ScoreRecord:
    """A score less the blind one. Its standard error would need both answers to each question."""
    own = blind[score.name]
    assert score.value is not None and own is not None
    protocol = {**score.protocol, **LESS_BLIND}
    parts = protocol.get("mean of")
    if isinstance(parts, list):
        protocol["mean of"] = [above_blind(str(part)) for part in parts]
    return ScoreRecord(name=above_blind(score.name), value=score.value - own, n=score.n, protocol=protocol)


def _unclamped(result: Result, items: Items | None) -> Result:
    """CLIP scores of 0.0 as the mean of their items; a floor or ceiling of 0.0 as not known."""
    known: Mapping[str, list[float | None]] = {} if items is None else items.scores
    scores = [
        _mean_of(score, known.get(score.name)) if _clamped(score.name, score.value) else score
        for score in result.scores
    ]
    tables = {
        kind: {
            name: {key: None if _clamped(key, value) else value for key, value in values.items()}
            for name, values in getattr(result, kind).items()
        }
        for kind in ("floors", "ceilings")
    }
    return result.model_copy(update={"scores": scores, **tables})


def _clamped(name: str, value: float | None) -> bool:
    return name.startswith(CLAMPED) and value == 0


def _mean_of(score: ScoreRecord, items: list[float | None] | None) -> ScoreRecord:
    own = [item for item in items or () if item is not None]
    return score.model_copy(update={"value": fmean(own) if own else None, "library_value": score.value})


def _shaped(result: Result) -> Result:
    """The latents' shape: tokens of the run's own side, and channels of the shipped encoder with the result's hash."""
    encoder: Any = result.config.get("encoder", {})
    sides = sorted(result.resolution_scaling, key=lambda point: point.resolution)
    part = str(encoder.get("name"))
    channels = _shipped_channels(part, str(result.hashes.get(part)))
    if result.latent_shape is not None or not sides or channels is None:
        return result
    return result.model_copy(update={"latent_shape": LatentShape(tokens=sides[0].tokens, channels=channels)})


@lru_cache
def _shipped_channels(part: str, fingerprint: str) -> int | None:
    """How many channels the statistics of a shipped foundation's encoder are of, where its files have this hash."""
    for card in SHIPPED.glob("*/card.json"):
        files = json.loads(card.read_text(encoding="utf-8"))["files"]
        own = sorted(digest for file, digest in files.items() if file.startswith(f"{part}/"))
        statistics = card.parent / part / "statistics.safetensors"
        if hashlib.sha256("".join(own).encode()).hexdigest()[:16] == fingerprint and statistics.is_file():
            with safe_open(statistics, framework="numpy") as tensors:
                return int(tensors.get_slice("mean").get_shape()[0])
    return None
