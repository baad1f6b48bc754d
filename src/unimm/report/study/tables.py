"""The tables of a study: arms with standard errors, factorial effects, the paper's ordering, completeness, guards.

And where its numbers come from: the plan and what changed in it, versions, devices, times.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from unimm.analysis import factorial, figure4
from unimm.analysis.contrast import Comparison, compare
from unimm.analysis.results import NotKnown, StudyResults
from unimm.evaluation.words import BUILT_IN, LOWER, Words
from unimm.report.rendering import PlainTable
from unimm.report.study.analysis_code import analysis_code
from unimm.report.study.folder import Study, StudyRun
from unimm.report.study.limits import mean_reference
from unimm.report.study.numbers import Mean, mean_of, over, signed
from unimm.report.study.run_code import code_rows
from unimm.report.study.scored import ScoredStudy
from unimm.report.table import chance, duration, number, with_chance
from unimm.runs.planned import dealt

ANALYSIS = "analysed by"
FACETS = ("atoms/", "atoms_long/")
# The paper's metric -> ours that measures the same thing in this world.
COUNTERPARTS = {"geneval": "geneval/overall", "dpg": None, "fid": "frechet_distance"}


def headline_metrics(study: ScoredStudy) -> list[str]:
    """The headline scores that this study has."""
    return study.words.headlines(study.metrics)


def arms_table(study: ScoredStudy) -> PlainTable:
    """One row an arm, one column a headline score: mean over seeds, standard error, floor and ceiling."""
    metrics = headline_metrics(study)
    headers = ("arm", "seeds", *(_directed(study.words[metric]) for metric in metrics))
    rows = tuple(
        (arm, str(len(study.finished(arm))), *(_scored(study, arm, metric) for metric in metrics))
        for arm in study.plan.arms
    )
    note = (
        f"Mean ± standard error over {over(study)} [floor; ceiling]. A floor is what the same images score without "
        "doing the task (other images' prompts, answers without the image); a ceiling is what real scenes score after "
        "this arm's encoder and decoder. Beside a Fréchet distance stands what chance alone gives between as many "
        "images and real scenes of one kind."
    )
    return PlainTable("arms", "Arms", headers, rows, note)


def facets_table(study: ScoredStudy) -> PlainTable | None:
    """One row an arm, one column a kind of fact (object, shape, colour, count, relation); None where none was scored.

    Whole prompts are the mean of six tasks, of which some may be dead in every arm; a kind of fact shows what differs.
    """
    facets = [metric for metric in study.words.ordered(study.metrics) if metric.startswith(FACETS)]
    facets = [metric for metric in facets if not study.words[metric].headline]
    if not facets:
        return None
    labels = [study.words[metric].short for metric in facets]
    rows = tuple((arm, *(_scored(study, arm, metric) for metric in facets)) for arm in study.plan.arms)
    note = f"Fraction of single facts that hold, mean ± standard error over {over(study)} [floor; ceiling]."
    return PlainTable("facets", "Single facts by kind", ("arm", *labels), rows, note)


def _directed(words: Words) -> str:
    return f"{words.short} ({LOWER})" if words.lower_is_better else words.short


def _scored(study: ScoredStudy, arm: str, metric: str) -> str:
    limits = [_limit(study, arm, kind, metric) for kind in ("floors", "ceilings")]
    bounds = f"\n[{'; '.join(limits)}]" if any(limit != "-" for limit in limits) else ""
    return f"{measured(study, arm, metric)}{bounds}"


def measured(study: ScoredStudy, arm: str, metric: str) -> str:
    """Mean and standard error of an arm's score over seeds or draws, with what chance alone gives if known."""
    scores = (score for run in study.finished(arm) for score in run.result.scores if score.name == metric)
    known = [value for score in scores if (value := chance(score.protocol)) is not None]
    mean = mean_of(study.values(arm, metric), study.draws(arm))
    return with_chance(str(mean), float(np.mean(known)) if known else None)


def _limit(study: ScoredStudy, arm: str, kind: str, metric: str) -> str:
    value = mean_reference(study, arm, kind, metric)
    return "-" if value is None else number(value)


def all_scores(study: ScoredStudy) -> PlainTable:
    """One row a score, one column an arm."""
    arms = list(study.plan.arms)
    rows = []
    for metric in study.words.ordered(study.metrics):
        words = study.words[metric]
        cells = [measured(study, arm, metric) for arm in arms]
        rows.append((words.section, words.label, _items(study, metric), *cells))
    note = f"Mean ± standard error over {over(study)}; n is the number of items behind each run's score."
    return PlainTable("scores", "All scores", ("group", "score", "n", *arms), tuple(rows), note, text_columns=2)


def _items(study: ScoredStudy, metric: str) -> str:
    counts = {score.n for run in study.all_runs for score in run.result.scores if score.name == metric}
    return f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"


def factorial_table(study: Study, results: StudyResults) -> PlainTable | None:
    """Main effects and interactions of the 2x2x2, or None for a study that is not one."""
    if not set(factorial.ARMS) <= set(study.plan.arms):
        return None
    metrics = [metric for metric in headline_metrics(study) if _complete(study, metric, results)]
    if not metrics:
        return None
    columns = [_effects(metric, results) for metric in metrics]
    rows = tuple((name, *(_effect(column[name]) for column in columns)) for name in columns[0])
    note = (
        "Effect (95 % interval, not adjusted: exploratory) in each score's own unit; * where the interval excludes 0. "
        "A main effect is the mean of the four arms with CLIP, flow matching or sequential training minus that of the "
        "other four; an interaction is the difference between two such effects, or of three factors between two such "
        "interactions. Each is taken within every seed "
        "and judged by its spread over seeds, as the arms of a seed share data. "
        f"{', '.join(['Distances', *_reversed(study, metrics)])}: negative is better."
    )
    headers = ("effect", *(study.words[metric].short for metric in metrics))
    return PlainTable("factorial", "Main effects and interactions", headers, rows, note)


def _reversed(study: Study, metrics: list[str]) -> list[str]:
    """The plug-ins' scores among the metrics of which less is better; of the built-in ones these are the distances."""
    named = {metric: study.words[metric] for metric in metrics if metric not in BUILT_IN}
    return [words.short for words in named.values() if words.lower_is_better]


def _complete(study: Study, metric: str, results: StudyResults) -> bool:
    """Whether every arm of the 2x2x2 has this score of every planned seed (or draw), of two or more."""
    cells = results.scores["generation_samples"].get(metric, {})
    values = [cells[arm] for arm in factorial.ARMS if arm in cells]
    rows = max(2, len(study.plan.dealt) or len(study.plan.seeds))
    return len(values) == len(factorial.ARMS) and all(len(v) == rows and np.isfinite(v).all() for v in values)


def _effects(metric: str, results: StudyResults) -> dict[str, Comparison]:
    cells = results.scores["generation_samples"][metric]
    return factorial.effects(cells, tasks=results.tasks.get(metric), texts=results.texts.get(metric))


def _effect(effect: Comparison) -> str:
    star = " *" if effect.low > 0 or effect.high < 0 else ""
    return f"{signed(effect.estimate)} ({signed(effect.low)} to {signed(effect.high)}){star}"


def paper_table(study: Study, results: StudyResults) -> PlainTable | None:
    """The paper's ordering of its three arms by each metric of its Figure 4, and ours; None unless all are planned."""
    if not set(study.plan.arms).issuperset(figure4.ordering("geneval")):
        return None
    rows = tuple((metric.upper(), _published(metric), *_ours(study, results, metric)) for metric in figure4.METRICS)
    headers = ("paper's metric", "paper (one run an arm)", "our metric", "this study (mean over seeds)", "same order?")
    note = (
        "Best first. Paper: BLIP3-o (arXiv 2505.09568), Figure 4, last checkpoint, digitised (GenEval ±0.4, FID ±0.9). "
        "Ours: > where the 95 % interval of the difference excludes 0, ≈ where it does not: there the order is chance."
    )
    return PlainTable("figure4", "The paper's Figure 4 beside this study", headers, rows, note, text_columns=5)


def _published(metric: str) -> str:
    return " > ".join(f"{arm} {score:.1f}" for arm, score in figure4.last(metric).items())


def _ours(study: Study, results: StudyResults, metric: str) -> tuple[str, str, str]:
    ours, published = COUNTERPARTS[metric], figure4.ordering(metric)
    if ours is None:
        return ("none", "not measured here", "")
    found = {arm: mean_of(study.values(arm, ours)) for arm in published if arm in study.plan.arms}
    ranked = sorted((arm for arm in found if found[arm].seeds), key=lambda arm: _rank(study.words[ours], found[arm]))
    if len(ranked) < len(published):
        return (ours, "not all three arms have run", "")
    signs = [_sign(results, ours, *pair) for pair in pairwise(ranked)]
    text = f"{ranked[0]} {number(found[ranked[0]].value)}"
    for sign, arm in zip(signs, ranked[1:], strict=True):
        text += f" {sign} {arm} {number(found[arm].value)}"
    same = "yes" if tuple(ranked) == published else "no"
    return (ours, text, same if "≈" not in signs else f"{same}, but not resolved")


def _rank(words: Words, mean: Mean) -> float:
    return mean.value if words.lower_is_better else -mean.value


def _sign(results: StudyResults, metric: str, better: str, worse: str) -> str:
    """Whether two arms next to each other can be told apart; one seed cannot tell."""
    cells = results.scores["generation_samples"][metric]
    if any(len(cells[arm]) < 2 or not np.isfinite(cells[arm]).all() for arm in (better, worse)):
        return "≈"
    difference = compare(
        cells[better],
        cells[worse],
        tasks=results.tasks.get(metric),
        texts=results.texts.get(metric),
        paired=bool(results.why_paired(better, worse)),
    )
    return ">" if difference.low > 0 or difference.high < 0 else "≈"


def completeness_table(study: Study) -> PlainTable:
    """Every planned run: finished, with its time, or why not."""
    seeds = study.plan.seeds
    rows = tuple((arm, *(_state(study, arm, seed) for seed in seeds)) for arm in study.plan.arms)
    marked = frozenset(i for i, arm in enumerate(study.plan.arms) if len(study.finished(arm)) < len(seeds))
    headers = ("arm", *(f"seed {seed}" for seed in seeds))
    return PlainTable("completeness", "Planned runs", headers, rows, "Highlighted: arms with missing runs.", marked)


def _state(study: Study, arm: str, seed: int) -> str:
    run = study.runs[arm].get(seed)
    return study.missing[arm, seed] if run is None else f"finished in {duration(run.result.speed.wall_seconds)}"


def guards_table(study: ScoredStudy, results: StudyResults) -> PlainTable:
    """Every guard: how many claims it holds for, those that name it or all, and which of them it stops."""
    rows: list[tuple[str, ...]] = []
    marked: set[int] = set()
    for guard, check in results.guards.items():
        everyone = guard in results.every_claim
        named = [claim for claim in study.plan.claims.claims if everyone or guard in claim.guards]
        found = {claim.id: reason for claim in named if (reason := check(claim)) is not None}
        failed = [f"{claim}: {reason}" for claim, reason in found.items() if not isinstance(reason, NotKnown)]
        unknown = dict.fromkeys(reason for reason in found.values() if isinstance(reason, NotKnown))
        if failed:
            marked.add(len(rows))
        cells = ("; ".join(failed) or "none", "; ".join(unknown))
        rows.append((guard, "every one" if everyone else str(len(named)), *cells))
    headers = ("guard", "claims", "claims that it makes untestable", "not known")
    shown = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
    return PlainTable(
        "guards",
        "Guards",
        headers[:shown],
        tuple(row[:shown] for row in rows),
        marked=frozenset(marked),
        text_columns=4,
    )


def provenance_table(study: Study) -> PlainTable:
    """Plan, analysis, arms, versions and devices; several values where runs differ."""
    plan, runs = study.plan, study.all_runs
    rows = [
        ("plan", plan.name),
        ("plan's hash", f"{plan.hash}; hash holds"),
        ("plan frozen", plan.created),
        (ANALYSIS, analysis_code()),
        *code_rows(study),
        ("profile", plan.profile),
        ("seeds", ", ".join(map(str, plan.seeds))),
        *_dealt(study),
        ("overrides of every arm", _listed(plan.overrides)),
        ("declared differences between arms", _listed(plan.declared_differences)),
        *((f"arm {name}", f"{arm.file}, hash {arm.hash}") for name, arm in plan.arms.items()),
    ]
    if runs:
        started = sorted(run.result.started for run in runs)
        wall = sum(run.result.speed.wall_seconds or 0 for run in runs)
        rows += [
            ("devices", ", ".join(sorted({run.result.device for run in runs}))),
            (
                "first and last run started",
                " and ".join(time.isoformat(" ", "seconds") for time in (started[0], started[-1])),
            ),
            ("wall time of all runs together", duration(wall)),
            *((f"version: {name}", text) for name, text in _versions(runs).items()),
        ]
    return PlainTable("provenance", "Provenance", ("what", "value"), tuple(rows), text_columns=2)


def _dealt(study: Study) -> list[tuple[str, str]]:
    """Which seeds stand on which foundation, where a study deals several."""
    seeds: dict[str, list[str]] = {}
    for seed, foundation in dealt(study.plan.dealt, study.plan.seeds).items():
        seeds.setdefault(foundation, []).append(str(seed))
    return [(f"foundation {name}", f"dealt to seeds {', '.join(own)}") for name, own in seeds.items()]


def amendments_table(study: Study) -> PlainTable | None:
    """What was changed in the plan after it was frozen, when and why; None if nothing was."""
    amendments = study.plan.amendments
    if not amendments:
        return None
    rows = tuple(
        (_word(entry.get("date", "")), _word(entry.get("reason", "")), _listed(_rest(entry))) for entry in amendments
    )
    note = "Changes after the plan was frozen. Claims that they touch are no longer fixed beforehand."
    return PlainTable("amendments", "Amendments", ("date", "reason", "change"), rows, note, text_columns=3)


def _versions(runs: list[StudyRun]) -> dict[str, str]:
    names = dict.fromkeys(name for run in runs for name in run.result.versions)
    found = {name: dict.fromkeys(_word(run.result.versions.get(name, "unknown")) for run in runs) for name in names}
    return {name: ", ".join(values) for name, values in found.items()}


def _rest(entry: Mapping[str, Any]) -> list[Any]:
    """Everything of an amendment that has no column of its own."""
    return [value if key == "change" else {key: value} for key, value in entry.items() if key not in ("date", "reason")]


def _listed(values: list[Any]) -> str:
    return "; ".join(map(_word, values)) or "none"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
