"""Whether the claims of a study can get a verdict, asked of its plan alone, before a run costs anything.

    mistake     what no run can mend: a metric that nothing scores, a direction that is not the metric's own, a guard
                that has nothing to look at. A new plan with one is refused; a frozen one stays as it is.
    no verdict  the claim will be untestable as the study stands: too few images for a distance, arms with other
                budgets, a learning curve that nobody measures, an evaluator that cannot read what prompts ask about.
                Whoever only tries things out may still run it.
    note        worth knowing: fewer seeds than a verdict takes, a factor in which the arms do not differ.

Names of arms, guards and built-in scores are checked when a file is read (`unimm.analysis.claims.read_claims`); what a
plug-in metric scores, its words say. Each check mirrors what decides after the runs (`unimm.report.study.evidence`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unimm.analysis.claims import Claims, Invariant, Measured, Reach
from unimm.analysis.judging import FactCard, failures
from unimm.analysis.results import MIN_SEEDS
from unimm.config import ABSENT, flatten
from unimm.evaluation.words import BUILT_IN, EVALUATORS, OWN_CLIP_SCORES, card_of, condition_of, judge_of
from unimm.files import read_object
from unimm.foundation.card import MEND, is_there, part_path
from unimm.registry import metrics, nearest
from unimm.report.study.every_claim import arms_of
from unimm.scenes.world import FAMILIES
from unimm.schema import GENEVAL, SCENES, EvaluationConfig
from unimm.study.expand import scoring_metrics, ways_to_sample
from unimm.study.plan import StudyPlan
from unimm.study.processes import StudyError

if TYPE_CHECKING:
    from unimm.evaluation.metric import Metric

Config = Mapping[str, Any]
Arms = Mapping[str, Config]

# Guards that read a claim's metric or its budget, which facts have not.
OF_NUMBERS = ("budgets_match", "within_range")
INCEPTION_WIDTH = 2048


class Kind(StrEnum):
    """How bad a finding is."""

    MISTAKE = "mistake"
    NO_VERDICT = "no verdict"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One thing that is amiss; `claim` is the id of the claim, empty for the study as a whole."""

    kind: Kind
    text: str
    claim: str = ""

    def __str__(self) -> str:
        said = {
            Kind.MISTAKE: f"claim {self.claim!r} is wrong: {self.text}",
            Kind.NO_VERDICT: f"claim {self.claim!r} cannot get a verdict: {self.text}",
            Kind.NOTE: f"claim {self.claim!r}: {self.text}" if self.claim else self.text,
        }
        return said[self.kind]


def check(plan: StudyPlan) -> list[Finding]:
    """Everything that is amiss with a plan's claims, in the order of the file; first what holds for all of them."""
    arms = {name: arm.current for name, arm in plan.arms.items()}
    found = [*_seeds(plan), *_factors(plan, arms)]
    for claim in Claims.model_validate(plan.claims).claims:
        own = {arm: arms[arm] for arm in arms_of(claim)}
        found += _of_fact(claim) if isinstance(claim, Invariant) else _of_number(claim, own)
    return found


def refuse_mistakes(path: Path, plan: StudyPlan) -> None:
    """StudyError, one line for each mistake in the claims of the study that `path` describes."""
    mistakes = [each for each in check(plan) if each.kind is Kind.MISTAKE]
    if mistakes:
        raise StudyError("\n".join(f"{path}: {each}" for each in mistakes))


def describe(plan: StudyPlan, found: Sequence[Finding]) -> str:
    """The findings, a line each, and how many claims can get a verdict."""
    claims = Claims.model_validate(plan.claims).claims
    lost = {each.claim for each in found if each.kind is not Kind.NOTE}
    few = plan.independent(len(plan.seeds)) < MIN_SEEDS
    able = [claim for claim in claims if claim.id not in lost and (isinstance(claim, Invariant) or not few)]
    total = f"{len(claims)} claim{'s' if len(claims) > 1 else ''}"
    return "\n".join([*map(str, found), f"{plan.name}: {len(able)} of {total} can get a verdict"])


def few_seeds(plan: StudyPlan, seeds: int) -> str:
    """What so few seeds of the plan's arms can do; empty where they are enough for a verdict."""
    counted = plan.independent(seeds)
    if counted >= MIN_SEEDS:
        return ""
    number = f"{seeds} seed{'s' if seeds > 1 else ''} an arm"
    number += f" on {counted} foundation{'s' if counted > 1 else ''}" if plan.dealt else ""
    return f"{number}: descriptive, without verdicts, which take {MIN_SEEDS} (facts are still checked)"


def _seeds(plan: StudyPlan) -> Iterator[Finding]:
    if few := few_seeds(plan, len(plan.seeds)):
        yield Finding(Kind.NOTE, few)


def _factors(plan: StudyPlan, arms: Arms) -> Iterator[Finding]:
    """Declared differences that are none."""
    flat = [flatten(config) for config in arms.values()]
    for declared in plan.declared_differences:
        keys = {key for config in flat for key in config if key == declared or key.startswith(f"{declared}.")}
        if all(len({repr(config.get(key, ABSENT)) for config in flat}) == 1 for key in keys):
            yield Finding(Kind.NOTE, f"{declared}: every arm has the same, so that nothing is compared by it")


def _of_fact(claim: Invariant) -> Iterator[Finding]:
    for guard in claim.guards:
        if guard in OF_NUMBERS:
            yield Finding(
                Kind.MISTAKE, f"guards: {guard} looks at numbers, and a fact has none; leave it out", claim.id
            )


def _of_number(claim: Measured, arms: Arms) -> Iterator[Finding]:
    unsampled = list(_sampled(claim, arms))
    yield from unsampled or _of_score(claim, arms)


def _sampled(claim: Measured, arms: Arms) -> Iterator[Finding]:
    """Arms that are not sampled in the way that the claim's score names, or scores that are not taken of it."""
    plain, way = condition_of(claim.metric)
    without = [arm for arm, config in arms.items() if way and way not in ways_to_sample(config)]
    if without:
        known = sorted({own for config in arms.values() for own in ways_to_sample(config)})
        guess = nearest(way, known)
        hint = f"; did you mean {guess!r}?" if guess else "; name it under sampling.also"
        text = f"metric: {', '.join(without)} is not sampled at {way!r}{hint}"
        yield Finding(Kind.MISTAKE, text, claim.id)
    elif way and not any(metric.is_of_samples() for config in arms.values() for metric in _giving(config, plain)):
        text = f"metric: {plain} is scored once, as the arm samples by itself; claim it without {way!r}"
        yield Finding(Kind.MISTAKE, text, claim.id)


def _giving(config: Config, score: str) -> list[type[Metric]]:
    """The arm's metrics that give a score."""
    return [metric for metric in scoring_metrics(config) if score in metric.names()]


def _of_score(claimed: Measured, arms: Arms) -> Iterator[Finding]:
    claim = claimed.model_copy(update={"metric": condition_of(claimed.metric)[0]})
    if judge_of(claim.metric):  # its name is its checkpoint's, and its card is made by the runs
        without = [arm for arm, config in arms.items() if not config["evaluation"].get("judge")]
        if without:
            text = f"metric: {claim.metric!r} is a judge's, and {', '.join(without)} has no evaluation.judge"
            yield Finding(Kind.MISTAKE, text, claim.id)
        yield from (Finding(Kind.NO_VERDICT, reason, claim.id) for reason in _untried(claim, arms))
        return
    scoring = {arm: scoring_metrics(config) for arm, config in arms.items()}
    unscored = [*_by_another_clip(claim, arms), *_scored(claim, scoring)][:1]
    yield from unscored or _direction(claim, scoring)
    if any(each.kind is Kind.MISTAKE for each in unscored):
        return
    checks: Mapping[str, Callable[[Measured, Arms], Iterator[str]]] = {
        "complete": _comparable,
        "budgets_match": _budgets,
        "judge_passes": _judge,
        "within_range": _floors,
    }
    reasons = [
        *_curves(claimed, arms),
        *_untried(claim, arms),
        *_failing(claim, arms),
        *(text for guard in claim.guards for text in checks.get(guard, _nothing)(claim, arms)),
        *_biased(claimed, arms),
    ]
    yield from (Finding(Kind.NO_VERDICT, text, claim.id) for text in reasons)


def _nothing(claim: Measured, arms: Arms) -> Iterator[str]:
    """Guards that only runs can tell about."""
    yield from ()


def _scored(claim: Measured, scoring: Mapping[str, Sequence[type[Metric]]]) -> Iterator[Finding]:
    """Arms whose metrics do not give the claim's score, or do not say which scores they give."""
    for arm, chosen in scoring.items():
        named = {metric: metric.names() for metric in chosen}
        if any(claim.metric in names for names in named.values()):
            continue
        silent = [metrics.name_of(metric) for metric, names in named.items() if not names]
        if silent and claim.metric not in BUILT_IN:
            text = (
                f"whether {', '.join(silent)} scores {claim.metric!r} only runs can tell: give it words for its scores"
            )
            yield Finding(Kind.NOTE, text, claim.id)
            return
        known = sorted(set().union(*named.values()))
        guess = nearest(claim.metric, known)
        hint = (
            f"; did you mean {guess!r}?" if guess else f"; {arm} is scored by {', '.join(map(metrics.name_of, named))}"
        )
        yield Finding(Kind.MISTAKE, f"metric: nothing scores {claim.metric!r} in {arm}{hint}", claim.id)
        return


def _by_another_clip(claim: Measured, arms: Arms) -> Iterator[Finding]:
    """An arm's own CLIP takes the place of the foundation's, so that it has the scores of one or of the others."""
    own = claim.metric in OWN_CLIP_SCORES
    if not own and claim.metric.partition("/")[0] not in {score.partition("/")[0] for score in OWN_CLIP_SCORES}:
        return
    for arm, config in arms.items():
        if own != bool(config["evaluation"].get("clip")):
            why = f"{arm} has no evaluation.clip" if own else f"evaluation.clip of {arm} takes its evaluator's place"
            yield Finding(Kind.MISTAKE, f"metric: nothing scores {claim.metric!r}: {why}", claim.id)
            return


def _untried(claim: Measured, arms: Arms) -> Iterator[str]:
    """Arms that leave nothing to try their judge or CLIP on: prompts that scenes cannot fulfil, and no labels."""
    judge = card_of(claim.metric)
    if judge is None or judge in EVALUATORS.values():
        return
    for arm, config in arms.items():
        evaluation = config["evaluation"]
        prompts = str(evaluation.get("prompts"))
        if not evaluation.get("judge_labels") and (prompts == GENEVAL or prompts.endswith(".txt")):
            yield f"guard judge_card: {arm} has no pictures to try {judge} on: set evaluation.judge_labels"
            return


def _failing(claim: Measured, arms: Arms) -> Iterator[str]:
    """An evaluator of the foundation that fails its card, which no run changes: it is tried on the world's scenes."""
    judge = card_of(claim.metric)
    if judge is None or judge not in EVALUATORS.values():
        return
    for arm, config in arms.items():
        name, evaluation = str(config["foundation"]), config["evaluation"]
        if evaluation.get("prompts") not in (None, SCENES) or not is_there(name):
            continue
        if wrong := failures(_evaluators(name, config["source"].get("resolution"), json.dumps(evaluation))[judge]):
            yield f"guard judge_card: {judge} fails its card ({'; '.join(wrong)}) in {arm}"
            return


@cache
def _evaluators(foundation: str, side: int | None, evaluation: str) -> Mapping[str, FactCard]:
    """Cards of a foundation's evaluators in a test on images of a side; ``evaluation`` are its settings as JSON."""
    from unimm.evaluation.benchmark import Benchmark, evaluators_cards  # needs torch
    from unimm.foundation.folder import Foundation

    test = Benchmark(EvaluationConfig.model_validate_json(evaluation), Foundation(foundation, side))
    return evaluators_cards(test.foundation, test.kinds)


def _direction(claim: Measured, scoring: Mapping[str, Sequence[type[Metric]]]) -> Iterator[Finding]:
    own = {name: words for chosen in scoring.values() for metric in chosen for name, words in metric.words.items()}
    words = BUILT_IN.get(claim.metric, own.get(claim.metric))
    if words is not None and words.better != claim.direction:
        text = f"direction: {words.better} is better of {claim.metric}; write {words.better} and exchange the arms"
        yield Finding(Kind.MISTAKE, text, claim.id)


def _curves(claim: Measured, arms: Arms) -> Iterator[str]:
    """What is read off learning curves needs one: of a score that snapshots get, with two of them."""
    if not isinstance(claim, Reach) and claim.budget != "flops":
        return
    if claim.metric not in metrics.get("geneval").names():
        yield f"learning curves, off which it is read, have no {claim.metric}; claim it by generation_samples"
    short = [arm for arm, config in arms.items() if config["training"]["snapshots"] < 2]
    if short:
        yield f"learning curves, off which it is read, take two snapshots of {', '.join(short)}: set training.snapshots"


def _comparable(claim: Measured, arms: Arms) -> Iterator[str]:
    """Scores that the guard `complete` takes for no ground of a verdict."""
    if claim.metric.startswith("bias/"):
        yield f"{claim.metric} is a diagnostic of an evaluator's bias and no score"


def _biased(claim: Measured, arms: Arms) -> Iterator[str]:
    """Distances that the guard `complete` takes for no ground of a verdict, as they are of too few images."""
    plain, way = condition_of(claim.metric)
    for arm, config in arms.items() if "complete" in claim.guards else ():
        width = _feature_width(plain, config)
        if width is None or config["evaluation"].get("prompts"):  # how many a file asks, it says
            continue
        from unimm.evaluation.statistics import BIASED_BELOW, is_biased  # needs torch

        images = _images(config, way)
        if is_biased(images, width):
            keys = "sampling.also.prompts_per_task" if way else "evaluation.prompts_per_task or images_per_prompt"
            yield (
                f"{claim.metric} of {images:,} images is biased upwards: it takes {BIASED_BELOW * width:,}, "
                f"{BIASED_BELOW} for each of {width:,} features; raise {keys} of {arm}, or claim kernel_distance"
            )
            return


def _images(config: Config, way: str) -> int:
    """How many images a run is scored on, or of a way to sample where one is named."""
    if way:
        return int(len(FAMILIES) * config["sampling"]["also"]["prompts_per_task"])
    evaluation = config["evaluation"]
    asked = len(FAMILIES) * evaluation["prompts_per_task"] * evaluation["images_per_prompt"]
    return int(asked + 2 * evaluation["combination_prompts"])


def _feature_width(metric: str, config: Config) -> int | None:
    """Features that a Fréchet distance is taken in; None for other scores, and where the foundation is not here."""
    if metric == "fid":
        return INCEPTION_WIDTH
    name = str(config["foundation"])
    if metric != "frechet_distance" or not is_there(name):
        return None
    return int(read_object(part_path(name, "features") / "config.json", MEND)["width"])


def _budgets(claim: Measured, arms: Arms) -> Iterator[str]:
    spent: dict[tuple[int, int], list[str]] = {}
    for arm, config in arms.items():
        training = config["training"]
        parts = [stage["samples"] for stage in config["stages"].values()] or [training["samples"]]
        steps = sum(samples // training["batch_size"] for samples in parts)
        spent.setdefault((steps * training["batch_size"], steps), []).append(arm)
    if claim.budget == "generation_samples" and len(spent) > 1:
        each = (
            f"{samples:,} samples in {steps:,} steps by {', '.join(own)}" for (samples, steps), own in spent.items()
        )
        yield f"guard budgets_match: arms spend {'; '.join(each)}"


def _judge(claim: Measured, arms: Arms) -> Iterator[str]:
    """The scenes' judge is tried on real scenes by the metric that it judges for."""
    if card_of(claim.metric):
        return
    without = [arm for arm, config in arms.items() if not _gives(config, "geneval/overall")]
    if without:
        yield f"guard judge_passes: the judge is tried by the metric geneval, which {', '.join(without)} leaves out"


def _gives(config: Config, score: str) -> bool:
    return bool(_giving(config, score))


def _floors(claim: Measured, arms: Arms) -> Iterator[str]:
    for config in arms.values():
        giving = _giving(config, claim.metric)
        if giving and not any(metric.has_floor() for metric in giving):
            yield f"guard within_range: {claim.metric} has no floor, from which it could be told apart; leave it out"
            return
