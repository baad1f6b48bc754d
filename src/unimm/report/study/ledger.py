"""The fairness ledger: what every arm was given, side by side, with the rows in which arms differ highlighted.

It includes tuning: how often each arm was tried before, and where guidance and EMA were chosen.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unimm.config import flatten
from unimm.report.rendering import PlainTable
from unimm.report.study.folder import Study, StudyPlanRecord
from unimm.report.table import FIRST_STEPS, duration, number
from unimm.runs.record import Result
from unimm.schema import INSTEAD

# Row of the ledger -> the setting that it is about.
CHOSEN = {
    "learning rate chosen": "training.learning_rate",
    "timestep shift chosen": "objective.shift",
    "guidance chosen": "objective.guidance",
    "EMA decay chosen": "training.ema_decay",
    "EMA length chosen": "training.ema_length",
}
ABSENT = "-"
One = Callable[[Result], str]
Reader = Callable[[Sequence[Result]], str]


def tuning_rows(plan: StudyPlanRecord) -> dict[str, Callable[[Result], str]]:
    """Quantity -> how to read it off a run, by the arm that it is of."""
    rows: dict[str, Callable[[Result], str]] = {
        "tuning trials": lambda result: _trials(plan, result),
        "tuning samples": lambda result: _samples(plan, result),
    }
    for name, key in CHOSEN.items():
        rows[name] = lambda result, key=key: _where(plan, result, key)  # type: ignore[misc]
    return rows if plan.tuned is None else rows | {"tuned settings that it lacks": lambda result: _lacks(plan, result)}


def _is_tuned(plan: StudyPlanRecord, result: Result) -> bool:
    return plan.tuned is not None and result.arm in plan.tuned.arms


def _trials(plan: StudyPlanRecord, result: Result) -> str:
    return str(plan.tuned.trials) if plan.tuned and _is_tuned(plan, result) else "none"


def _samples(plan: StudyPlanRecord, result: Result) -> str:
    return f"{plan.tuned.samples:,}" if plan.tuned and _is_tuned(plan, result) else "none"


def _where(plan: StudyPlanRecord, result: Result, key: str) -> str:
    """Where a setting's value comes from; an arm without the setting has nothing to choose."""
    settings = flatten(result.config)
    if key not in settings or (key in INSTEAD and settings[key] is None):
        return ABSENT
    if plan.tuned is None or not _is_tuned(plan, result) or key not in plan.tuned.arms[result.arm].chosen:
        return "in advance"
    how = "by sampling" if key in plan.tuned.by_sampling else "by training"
    return f"{how}, on validation prompts"


def _lacks(plan: StudyPlanRecord, result: Result) -> str:
    if plan.tuned is None or not _is_tuned(plan, result):
        return ABSENT
    return ", ".join(plan.tuned.arms[result.arm].skipped) or "none"


def ledger(study: Study) -> PlainTable:
    """One row a quantity, one column an arm; a cell lists several values where the seeds differ."""
    arms = list(study.plan.arms)
    rows = [(name, *(_cell(study, arm, read) for arm in arms)) for name, read in _quantities(study).items()]
    rows = [row for row in rows if set(row[1:]) != {ABSENT}]
    marked = frozenset(i for i, row in enumerate(rows) if len(set(row[1:])) > 1)
    note = (
        f"Highlighted: arms differ. {ABSENT} means that the arm has no such setting, or that its results do not say. "
        "Times are means over seeds and depend on what else the machine did. Weights that training changes differ by "
        'seed. FLOPs of training "as in the first eight steps" are of runs that counted those alone, however many of '
        "their captions were long: the mean over an arm's seeds."
    )
    return PlainTable("ledger", "Fairness ledger", ("quantity", *arms), tuple(rows), note, marked)


def _cell(study: Study, arm: str, read: Reader) -> str:
    results = [run.result for run in study.finished(arm)]
    return read(results) if results else ABSENT


def _quantities(study: Study) -> dict[str, Reader]:
    """Quantity -> how to read it off an arm's results: facts first, measured times last."""
    facts: dict[str, One] = {
        "encoder (target)": _setting("encoder", "name"),
        "objective": _setting("objective", "name"),
        "strategy": _setting("strategy", "name"),
        "settings": lambda r: r.settings,
        "parameters, trainable": lambda r: f"{r.parameters.trainable:,}",
        "parameters, frozen": lambda r: f"{r.parameters.frozen:,}",
        "generation samples": lambda r: f"{r.counts.generation_samples:,}",
        "understanding samples": lambda r: f"{r.counts.understanding_samples:,}",
        "steps": lambda r: f"{r.counts.steps:,}",
        "stages": _stages,
        "batch size": _setting("training", "batch_size"),
        "learning rate": _setting("training", "learning_rate"),
        "precision": _setting("training", "precision"),
        "FLOPs of training": _training_flops,
        "FLOPs an image, sampling": _sampling_flops,
        "tokens an image": _tokens,
        "queries": _setting("backbone", "queries"),
        "guidance": _setting("objective", "guidance"),
        "sampling steps": _setting("objective", "steps"),
        "decoder steps": _setting("sampling", "decoder_steps"),
        "EMA decay": _setting("training", "ema_decay"),
        "EMA length (share of the run)": _setting("training", "ema_length"),
        "timestep shift": _shift,
        "timestep shift, base": _setting("objective", "shift_base"),
        "latents standardised": _setting("encoder", "standardise"),
        **tuning_rows(study.plan),
        "ceiling, whole prompts (real scenes)": _ceiling("real", "geneval/overall"),
        "ceiling, whole prompts (decoder)": _ceiling("decoder", "geneval/overall"),
        "ceiling, Fréchet distance (decoder)": _ceiling("decoder", "frechet_distance"),
        **{f"weights: {name}": _hash(name) for name in _hash_names(study)},
    }
    return {name: _each(read) for name, read in facts.items()} | {
        "training time": _mean(lambda r: r.speed.train_seconds, duration),
        "wall time": _mean(lambda r: r.speed.wall_seconds, duration),
        "training speed (samples/s)": _mean(lambda r: r.speed.samples_per_second, number),
        "peak memory (GiB)": _mean(_memory, number),
    }


def _each(read: One) -> Reader:
    """The values of an arm's runs, each different one once."""
    return lambda results: ",\n".join(dict.fromkeys(map(read, results)))


def _mean(read: Callable[[Result], float | None], shown: Callable[[float], str]) -> Reader:
    """The mean over an arm's runs."""

    def mean(results: Sequence[Result]) -> str:
        values = [value for result in results if (value := read(result)) is not None]
        return shown(float(np.mean(values))) if values else ABSENT

    return mean


def _setting(part: str, key: str) -> One:
    return lambda result: _read(result, part, key)


def _read(result: Result, part: str, key: str) -> str:
    section: Any = result.config.get(part)
    return _word(section[key]) if isinstance(section, Mapping) and key in section else ABSENT


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _stages(result: Result) -> str:
    """What each stage trained on, how much and how fast."""
    each = (f"{s.name}: {s.counts.generation_samples:,} of {s.source} at {s.learning_rate:g}" for s in result.stages)
    return "; ".join(each) or ABSENT


def _tokens(result: Result) -> str:
    """Tokens of an image as large as the run's: older results say it of that side beside larger ones only."""
    if result.latent_shape is not None:
        return f"{result.latent_shape.tokens} x {result.latent_shape.channels} numbers"
    sides = sorted(result.resolution_scaling, key=lambda point: point.resolution)
    return str(sides[0].tokens) if sides else ABSENT


def _shift(result: Result) -> str:
    """The timestep shift; by the latents' dimension it is sqrt(tokens x channels / base), as flow matching takes it."""
    shift, base = (_read(result, "objective", key) for key in ("shift", "shift_base"))
    if shift != "null":
        return shift
    shape = result.latent_shape
    found = "" if shape is None else f"{math.sqrt(shape.tokens * shape.channels / float(base)):.3g}, "
    return f"{found}by latent dimension"


def _training_flops(result: Result) -> str:
    if result.efficiency is None:
        return ABSENT
    return f"{result.efficiency.train_flops:.3g}{'' if result.efficiency.passes else FIRST_STEPS}"


def _sampling_flops(result: Result) -> str:
    return ABSENT if result.efficiency is None else f"{result.efficiency.sampling_flops_per_image:.3g}"


def _memory(result: Result) -> float | None:
    return None if result.efficiency is None else result.efficiency.peak_memory_bytes / 2**30


def _ceiling(name: str, metric: str) -> One:
    def read(result: Result) -> str:
        scores = result.ceilings.get(name, {})
        return number(scores[metric]) if metric in scores else ABSENT

    return read


def _hash(name: str) -> One:
    return lambda result: _word(result.hashes[name])[:8] if name in result.hashes else ABSENT


def _hash_names(study: Study) -> Iterable[str]:
    return dict.fromkeys(name for run in study.all_runs for name in run.result.hashes)
