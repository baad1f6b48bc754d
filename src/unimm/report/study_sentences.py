"""The one sentence that answers a claim, by verdict and kind of claim."""

from functools import singledispatch

from unimm.analysis.claims import BestCell, Difference, Measured, NonInferiority, Reach
from unimm.analysis.verdicts import Outcome, Verdict
from unimm.report.study_folder import Study
from unimm.report.study_guards import at_an_end
from unimm.report.study_numbers import between, short, signed, times
from unimm.report.table import number


def measured(study: Study, claim: Measured, verdict: Verdict) -> str:
    """Answers a claim with a number and its interval."""
    if verdict.outcome is Outcome.UNTESTABLE:
        return f"Not tested: {verdict.note}."
    found = _reverse if verdict.outcome is Outcome.CONTRADICTED and not isinstance(claim, Reach) else _finding
    sentence = _SENTENCES[verdict.outcome](claim, verdict, found(study, claim, verdict))
    return sentence + _note(verdict) + _stuck(study, claim, verdict)


def checked(verdict: Verdict) -> str:
    """Answers an invariant."""
    sentences = {
        Outcome.SUPPORTED: "Yes, exactly, in every run.",
        Outcome.CONTRADICTED: f"No; {verdict.note}.",
        Outcome.UNTESTABLE: f"Not tested: {verdict.note}.",
    }
    return sentences[verdict.outcome]


def _supported(claim: Measured, verdict: Verdict, finding: str) -> str:
    worst = f", so not worse by {number(claim.margin)} or more" if isinstance(claim, NonInferiority) else ""
    return f"Yes: {finding}{worst}."


def _contradicted(claim: Measured, verdict: Verdict, finding: str) -> str:
    return f"No, the reverse: {finding}."


def _negligible(claim: Measured, verdict: Verdict, finding: str) -> str:
    limit = f"x{claim.smallest_ratio:g}" if isinstance(claim, Reach) else f"±{number(claim.margin)}"
    return f"No difference that matters ({limit} would): {finding}."


def _inconclusive(claim: Measured, verdict: Verdict, finding: str) -> str:
    seeds = verdict.seeds_needed
    if seeds is None:
        what = "longer runs or other checkpoints" if isinstance(claim, Reach) else "more prompts"
        return f"Open: {finding}; {what} are needed, not more seeds."
    return f"Open: {finding}; if that stayed, about {seeds:,} seeds an arm would decide."


_SENTENCES = {
    Outcome.SUPPORTED: _supported,
    Outcome.CONTRADICTED: _contradicted,
    Outcome.NEGLIGIBLE: _negligible,
    Outcome.INCONCLUSIVE: _inconclusive,
}


def _finding(study: Study, claim: Measured, verdict: Verdict) -> str:
    """What was measured; a difference is positive in the claimed direction."""
    shown = times if isinstance(claim, Reach) else signed
    effect, interval = shown(verdict.estimate), between(verdict.low, verdict.high, shown)
    if isinstance(claim, Reach):
        budget = {"generation_samples": "samples", "flops": "FLOPs"}[claim.budget]
        goal = f"{claim.target:g} of {short(claim.metric)}"
        return f"{claim.slower} needs {effect} ({interval}) the {budget} of {claim.faster} for {goal}"
    return _difference(study, claim, claim.direction, effect, interval)


def _reverse(study: Study, claim: Measured, verdict: Verdict) -> str:
    """What was measured against the claim, in positive numbers: "lower by 0.14" instead of "higher by -0.14"."""
    assert verdict.estimate is not None and verdict.low is not None and verdict.high is not None
    effect, interval = signed(-verdict.estimate), between(-verdict.high, -verdict.low, signed)
    return _difference(study, claim, {"higher": "lower", "lower": "higher"}[claim.direction], effect, interval)


def _difference(study: Study, claim: Measured, direction: str, effect: str, interval: str) -> str:
    at = " at equal FLOPs" if claim.budget == "flops" else ""
    return f"{short(claim.metric)} {direction} with {_favoured(claim, study)} by {effect} ({interval}){at}"


@singledispatch
def _favoured(claim: Measured, study: Study) -> str:
    """Which side of the comparison the claim favours."""
    raise NotImplementedError(type(claim))


@_favoured.register
def _(claim: BestCell, study: Study) -> str:
    return claim.best


@_favoured.register(Difference)
@_favoured.register(NonInferiority)
def _(claim: Difference | NonInferiority, study: Study) -> str:
    """What the arms with positive weights share and the others lack (`sequential`), or else their names."""
    levels: dict[str, set[object]] = {
        arm: {planned.component(kind) for kind in ("encoder", "objective", "strategy")}
        for arm, planned in study.plan.arms.items()
    }
    ours = [levels[arm] for arm, weight in claim.contrast.items() if weight > 0]
    theirs = [levels[arm] for arm, weight in claim.contrast.items() if weight < 0]
    shared = set.intersection(*ours) - set.union(*theirs)
    return " and ".join(sorted(map(str, shared))).replace("_", " ") or ", ".join(
        arm for arm, weight in claim.contrast.items() if weight > 0
    )


def _note(verdict: Verdict) -> str:
    """The rival, or how many runs reached the target."""
    return f" {verdict.note[0].upper()}{verdict.note[1:]}." if verdict.note else ""


def _stuck(study: Study, claim: Measured, verdict: Verdict) -> str:
    """Arms at their floor or ceiling, whose distance from the others is then understated."""
    ends = {end: arms for end, arms in at_an_end(study, claim).items() if arms}
    return "".join(f" At the {end}: {', '.join(arms)}." for end, arms in ends.items())
