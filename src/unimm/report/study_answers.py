"""A verdict as a reader wants it: one sentence that answers the claim, its interval, and on how much it rests."""

from dataclasses import dataclass

from unimm.analysis.claims import Claim, Invariant, Reach
from unimm.analysis.results import StudyResults
from unimm.analysis.verdicts import Outcome, Verdict, decide
from unimm.report.plain_table import PlainTable
from unimm.report.study_folder import Study
from unimm.report.study_numbers import between, signed, times
from unimm.report.study_sentences import checked, measured
from unimm.report.table import number

# Every outcome has a word, and a mark for readers who do not see its colour.
MARKS = {
    Outcome.SUPPORTED: "✓",
    Outcome.CONTRADICTED: "✗",
    Outcome.NEGLIGIBLE: "≈",
    Outcome.INCONCLUSIVE: "?",
    Outcome.UNTESTABLE: "-",
}


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


def answers(study: Study, results: StudyResults) -> list[Answer]:
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
        "Effects are in the metric's unit and positive in the claimed direction; x2 means that the other arm pays "
        "twice as much. Intervals and p-values are adjusted for all claims of the same role (Holm for primary ones, "
        "false coverage rate for secondary ones)."
    )
    return PlainTable("claims", "Claims and their intervals", headers, rows, note, text_columns=3)


def _details(answer: Answer) -> tuple[str, ...]:
    claim, verdict = answer.claim, answer.verdict
    if isinstance(claim, Invariant):
        return (claim.id, verdict.outcome.value, "checked in every run", "", "", "", "", "", answer.sample)
    level = "" if verdict.level is None else f"{100 * (1 - verdict.level):.2f} %"
    p = "" if verdict.p_adjusted is None else f"{verdict.p_adjusted:.2g}"
    smallest = times(claim.smallest_ratio) if isinstance(claim, Reach) else number(claim.margin)
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


def _answer(study: Study, claim: Claim, verdict: Verdict) -> Answer:
    if isinstance(claim, Invariant):
        return Answer(claim, verdict, checked(verdict), "", "", _sample(verdict), "invariant")
    effect = interval = ""
    if verdict.estimate is not None:
        shown = times if isinstance(claim, Reach) else signed
        effect, interval = shown(verdict.estimate), between(verdict.low, verdict.high, shown)
    return Answer(
        claim,
        verdict,
        measured(study, claim, verdict),
        effect,
        interval,
        _sample(verdict),
        claim.role,
    )


def _sample(verdict: Verdict) -> str:
    """Seeds an arm, and prompts where the score has a value for each."""
    return " x ".join(f"{count:,}" for count in (verdict.n_seeds, verdict.n_items) if count)
