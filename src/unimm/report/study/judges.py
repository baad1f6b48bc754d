"""What a study's verdicts would be by its other judges, and how far two judges agree image by image.

Where runs were scored by several judges, every claim about one's scores is decided again with the same scores by each
of the others, all claims together and at the same levels. A verdict that changes with the judge is one about the judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from unimm.analysis.claims import Claim, Claims, Invariant
from unimm.analysis.judging import krippendorff_alpha
from unimm.analysis.results import StudyResults
from unimm.analysis.verdicts import decide
from unimm.evaluation.words import judge_of
from unimm.report.rendering import PlainTable
from unimm.report.study.answers import Answer
from unimm.report.study.folder import Study
from unimm.report.table import number

SCENES = "scenes"
FAMILY = "geneval"
NOTE = (
    "Each claim decided again on the same runs with every judge's own scores. Verdicts that differ say something about "
    "the judges before they say anything about the arms."
)


def judges_table(study: Study, results: StudyResults, found: Sequence[Answer]) -> PlainTable | None:
    """One row a claim about a judge's scores, one column a judge; None for a study with one judge."""
    judges = judges_of(study)
    asked = [answer for answer in found if _judged_by(answer.claim, judges) is not None]
    if len(judges) < 2 or not asked:
        return None
    by_judge = {judge: _decided(study.plan.claims, judge, judges, results) for judge in judges}
    rows = []
    for answer in asked:
        outcomes = [by_judge[judge][answer.claim.id] for judge in judges]
        rows.append((answer.claim.id, *outcomes, "yes" if len(set(outcomes)) == 1 else "no"))
    same = sum(row[-1] == "yes" for row in rows)
    said = f"The judges agree on {same} of {len(rows)} verdicts. {NOTE}"
    headers = ("claim", *judges, "do they agree?")
    marked = frozenset(place for place, row in enumerate(rows) if row[-1] == "no")
    note = " ".join([said, *_alphas(study, judges)])
    return PlainTable("judges", "Do the judges agree?", headers, tuple(rows), note, marked, len(headers))


def judges_of(study: Study) -> list[str]:
    """The judges by whom every finished run has an overall score."""
    kept = [{s.name for s in run.result.scores if s.name.endswith("/overall")} for run in study.all_runs]
    names = sorted(set.intersection(*kept)) if kept else []
    own = [SCENES] if f"{FAMILY}/overall" in names else []
    return own + [judge for name in names if name.startswith(f"{FAMILY}[") and (judge := judge_of(name))]


def _prefix(judge: str) -> str:
    return FAMILY if judge == SCENES else f"{FAMILY}[{judge}]"


def _judged_by(claim: Claim, judges: Sequence[str]) -> str | None:
    """The judge whose scores a claim is about."""
    if isinstance(claim, Invariant):
        return None
    return next((judge for judge in judges if claim.metric.startswith(f"{_prefix(judge)}/")), None)


def _decided(claims: Claims, judge: str, judges: Sequence[str], results: StudyResults) -> dict[str, str]:
    """Claim -> outcome, with every claim about a judge's scores moved to this one's."""
    moved = []
    for claim in claims.claims:
        own = _judged_by(claim, judges)
        if own is not None and not isinstance(claim, Invariant):
            metric = _prefix(judge) + claim.metric.removeprefix(_prefix(own))
            claim = claim.model_copy(update={"metric": metric})
        moved.append(claim)
    verdicts = decide(claims.model_copy(update={"claims": tuple(moved)}), results)
    return {verdict.claim: verdict.outcome.value for verdict in verdicts}


def _alphas(study: Study, judges: Sequence[str]) -> list[str]:
    """Krippendorff's alpha of every two judges over the images of all runs that kept items."""
    sentences = []
    for one, other in combinations(judges, 2):
        rows = [_decisions(study, judge) for judge in (one, other)]
        alpha = krippendorff_alpha(rows) if len(rows[0]) == len(rows[1]) else None
        if alpha is not None:
            sentences.append(
                f"Image by image, {one} and {other} agree with Krippendorff's alpha {number(alpha)} over "
                f"{len(rows[0]):,} images (1: always, 0: as by chance)."
            )
    return sentences


def _decisions(study: Study, judge: str) -> list[float | None]:
    """Of every image of every run whether the judge accepted it; None for what it does not score."""
    found: list[float | None] = []
    for run in study.all_runs:
        items = run.items
        if items is None:
            continue
        for number_, prompt in enumerate(items.prompts):
            values = items.scores.get(f"{_prefix(judge)}/{prompt.tag}")
            found.append(None if values is None else values[number_])
    return found
