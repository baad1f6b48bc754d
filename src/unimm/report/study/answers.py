"""A verdict as a reader wants it: one sentence that answers the claim, its interval, and on how much it rests.

The sentence depends on the verdict and on the kind of claim.
"""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

from unimm.analysis.claims import BestCell, Claim, Difference, Invariant, Measured, NonInferiority, Reach
from unimm.analysis.results import StudyResults
from unimm.analysis.verdicts import Outcome, Verdict, decide
from unimm.arm_words import short_name
from unimm.report.rendering import PlainTable
from unimm.report.study.limits import at_an_end
from unimm.report.study.numbers import between, signed, times
from unimm.report.study.run_code import code_warning
from unimm.report.study.scored import ScoredStudy
from unimm.report.table import number

Shown = Callable[[float | None], str]
COLUMNS = 80

# Every outcome has a word, and a mark for readers who do not see its colour.
MARKS = {
    Outcome.SUPPORTED: "✓",
    Outcome.CONTRADICTED: "✗",
    Outcome.NEGLIGIBLE: "≈",
    Outcome.INCONCLUSIVE: "?",
    Outcome.UNTESTABLE: "-",
}


def measured(study: ScoredStudy, claim: Measured, verdict: Verdict) -> str:
    """Answers a claim with a number and its interval."""
    if verdict.outcome is Outcome.UNTESTABLE:
        return f"Not tested: {verdict.note}."
    sentence = _SENTENCES[verdict.outcome](claim, verdict, _finding(study, claim, verdict))
    return sentence + _note(verdict) + _stuck(study, claim, verdict) + _warned(verdict)


def checked(verdict: Verdict) -> str:
    """Answers an invariant."""
    sentences = {
        Outcome.SUPPORTED: "Yes, exactly, in every run.",
        Outcome.CONTRADICTED: f"No; {verdict.note}.",
        Outcome.UNTESTABLE: f"Not tested: {verdict.note}.",
    }
    return sentences[verdict.outcome]


def _supported(claim: Measured, verdict: Verdict, finding: str) -> str:
    worst = f", so not worse by {_margin(claim)} or more" if isinstance(claim, NonInferiority) else ""
    return f"Yes: {finding}{worst}."


def _contradicted(claim: Measured, verdict: Verdict, finding: str) -> str:
    return f"No, the reverse: {finding}."


def _negligible(claim: Measured, verdict: Verdict, finding: str) -> str:
    limit = _margin(claim) if claim.is_ratio else f"±{_margin(claim)}"
    return f"No difference that matters ({limit} would): {finding}."


def _inconclusive(claim: Measured, verdict: Verdict, finding: str) -> str:
    seeds = verdict.seeds_needed
    if seeds is None:
        what = "longer runs or other checkpoints" if isinstance(claim, Reach) else "more prompts"
        return f"Open: {finding}; {what} are needed, not more seeds."
    counted = "seeds an arm" if verdict.n_draws is None else "draws of the foundation"
    return f"Open: {finding}; if effect and spread are as estimated, about {seeds:,} {counted} decide 4 times in 5."


def _margin(claim: Measured) -> str:
    """The smallest effect of interest: in the metric's unit, or a ratio."""
    return times(claim.in_units(claim.margin)) if claim.is_ratio else number(claim.margin)


_SENTENCES = {
    Outcome.SUPPORTED: _supported,
    Outcome.CONTRADICTED: _contradicted,
    Outcome.NEGLIGIBLE: _negligible,
    Outcome.INCONCLUSIVE: _inconclusive,
}


def _finding(study: ScoredStudy, claim: Measured, verdict: Verdict) -> str:
    """What was measured, the way it points: "lower by 0.14" instead of "higher by -0.14", whatever was claimed."""
    if isinstance(claim, Reach):
        effect, interval = times(verdict.estimate), between(verdict.low, verdict.high, times)
        budget = {"generation_samples": "samples", "flops": "FLOPs"}[claim.budget]
        goal = f"{claim.target:g} of {study.words[claim.metric].short}"
        return f"{claim.slower} needs {effect} ({interval}) the {budget} of {claim.faster} for {goal}"
    assert verdict.estimate is not None and verdict.low is not None and verdict.high is not None
    shown, null = (times, 1.0) if claim.is_ratio else (signed, 0.0)
    ends = verdict.estimate, verdict.low, verdict.high
    if verdict.estimate >= null:
        return _difference(study, claim, claim.direction, ends, shown)
    estimate, high, low = (_turned(end, claim.is_ratio) for end in ends)
    other = {"higher": "lower", "lower": "higher"}[claim.direction]
    return _difference(study, claim, other, (estimate, low, high), shown)


def _turned(effect: float, ratio: bool) -> float:
    """The same effect in the other direction; a ratio of 0 or infinity is a bound that is not there."""
    if not ratio:
        return -effect
    return 1 / effect if effect else math.inf


def _difference(
    study: ScoredStudy, claim: Measured, direction: str, ends: tuple[float, float, float], shown: Shown
) -> str:
    at = " at equal FLOPs" if claim.budget == "flops" else ""
    score = study.words[claim.metric].short
    effect, interval = shown(ends[0]), between(ends[1], ends[2], shown)
    return f"{score} {direction} with {_favoured(claim, study)} by {effect} ({interval}){at}"


@singledispatch
def _favoured(claim: Measured, study: ScoredStudy) -> str:
    """Which side of the comparison the claim favours."""
    raise NotImplementedError(type(claim))


@_favoured.register
def _(claim: BestCell, study: ScoredStudy) -> str:
    return claim.best


@_favoured.register(Difference)
@_favoured.register(NonInferiority)
def _(claim: Difference | NonInferiority, study: ScoredStudy) -> str:
    """What the arms with positive weights share and the others lack (`sequential`), or else their names."""
    levels: dict[str, set[object]] = {
        arm: {planned.component(kind) for kind in ("encoder", "objective", "strategy")}
        for arm, planned in study.plan.arms.items()
    }
    ours = [levels[arm] for arm, weight in claim.contrast.items() if weight > 0]
    theirs = [levels[arm] for arm, weight in claim.contrast.items() if weight < 0]
    shared = set.intersection(*ours) - set.union(*theirs)
    return " and ".join(sorted(short_name(str(name)) for name in shared)).replace("_", " ") or ", ".join(
        arm for arm, weight in claim.contrast.items() if weight > 0
    )


def _note(verdict: Verdict) -> str:
    """The rival, or how many runs reached the target."""
    return f" {verdict.note[0].upper()}{verdict.note[1:]}." if verdict.note else ""


def _warned(verdict: Verdict) -> str:
    """What makes the interval doubtful."""
    return "".join(f" Mind: {warning[0].lower()}{warning[1:]}." for warning in verdict.warnings)


def _stuck(study: ScoredStudy, claim: Measured, verdict: Verdict) -> str:
    """Arms at their floor or ceiling, whose distance from the others is then understated."""
    ends = {end: arms for end, arms in at_an_end(study, claim).items() if arms}
    return "".join(f" At the {end}: {', '.join(arms)}." for end, arms in ends.items())


@dataclass(frozen=True)
class Answer:
    """One claim, answered; `effect` and `interval` are empty where there is no number."""

    claim: Claim
    verdict: Verdict
    sentence: str
    effect: str
    interval: str
    sample: str
    role: str

    @property
    def mark(self) -> str:
        """The outcome's sign."""
        return MARKS[self.verdict.outcome]


def answers(study: ScoredStudy, results: StudyResults) -> list[Answer]:
    """Every claim of the plan with its verdict, in the plan's order."""
    claims = study.plan.claims
    verdicts = decide(claims, results)
    return [_answer(study, claim, verdict) for claim, verdict in zip(claims.claims, verdicts, strict=True)]


def tally(found: list[Answer]) -> list[tuple[Outcome, int]]:
    """How often each outcome came, those that did."""
    counts = [(outcome, sum(answer.verdict.outcome is outcome for answer in found)) for outcome in MARKS]
    return [(outcome, count) for outcome, count in counts if count]


def scopes(found: list[Answer]) -> dict[str, list[str]]:
    """What each verdict holds for, and the claims that share it."""
    shared: dict[str, list[str]] = {}
    for answer in found:
        shared.setdefault(answer.verdict.scope, []).append(answer.claim.id)
    return shared


def details(found: list[Answer]) -> PlainTable:
    """All that stands behind the verdicts."""
    headers = (
        "claim",
        "verdict",
        "metric",
        "effect",
        "interval",
        "level",
        "p adjusted",
        "smallest effect",
        "seeds x prompts",
    )
    rows = tuple(_details(answer) for answer in found)
    note = (
        "Effects are in the metric's unit and positive in the claimed direction, or ratios and above 1 (x2 of costs: "
        "the other arm pays twice as much; of scores: twice as far in the claimed direction). Intervals and p-values "
        "are adjusted for all claims of the same role (Holm for primary ones, false coverage rate for secondary ones); "
        "negligible claims have their interval at the level alpha / claims of the role, inside the smallest effect."
    )
    return PlainTable("claims", "Claims and their intervals", headers, rows, note, text_columns=3)


def _details(answer: Answer) -> tuple[str, ...]:
    claim, verdict = answer.claim, answer.verdict
    if isinstance(claim, Invariant):
        return (claim.id, verdict.outcome.value, "checked in every run", "", "", "", "", "", answer.sample)
    level = "" if verdict.level is None else f"{100 * (1 - verdict.level):.2f} %"
    p = "" if verdict.p_adjusted is None else f"{verdict.p_adjusted:.2g}"
    smallest = _margin(claim)
    return (
        claim.id,
        verdict.outcome.value,
        claim.metric,
        answer.effect,
        answer.interval,
        level,
        p,
        smallest,
        answer.sample,
    )


def _answer(study: ScoredStudy, claim: Claim, verdict: Verdict) -> Answer:
    code = code_warning(study, claim)
    if isinstance(claim, Invariant):
        return Answer(claim, verdict, checked(verdict) + code, "", "", _sample(verdict), "invariant")
    effect = interval = ""
    if verdict.estimate is not None:
        shown = times if claim.is_ratio else signed
        effect, interval = shown(verdict.estimate), between(verdict.low, verdict.high, shown)
    return Answer(
        claim,
        verdict,
        measured(study, claim, verdict) + code,
        effect,
        interval,
        _sample(verdict),
        claim.role,
    )


def _sample(verdict: Verdict) -> str:
    """Seeds an arm, on how many draws if on several, and prompts where the score has a value for each."""
    seeds = f"{verdict.n_seeds:,}" if verdict.n_seeds else ""
    draws = f" on {verdict.n_draws:,} draws" if verdict.n_draws else ""
    return " x ".join(filter(None, (seeds + draws, f"{verdict.n_items:,}" if verdict.n_items else "")))


def told(found: list[Answer]) -> str:
    """Every verdict for a terminal of 80 columns: its word, the claim, and the sentence that answers it."""
    shown = []
    for answer in found:
        head = f"{answer.mark} {answer.verdict.outcome.value}: {answer.claim.text}"
        shown += textwrap.wrap(head, COLUMNS, subsequent_indent="  ")
        shown += textwrap.wrap(answer.sentence, COLUMNS, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(shown)
