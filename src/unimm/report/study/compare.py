"""Two studies side by side: verdicts, scores, the paper's ordering, what the arms were given, and effects.

For questions such as which orderings hold under published settings and which survive controlled ones. Nothing is
tested across studies: they differ in more than one thing, and the page says in what.
"""

from pathlib import Path

from unimm.analysis.verdicts import Outcome
from unimm.files import write_atomic
from unimm.report.rendering import PlainTable, environment, inline, markdown
from unimm.report.study import page as study_page
from unimm.report.study.answers import Answer
from unimm.report.study.numbers import mean_of, over
from unimm.report.study.page import StudyReport
from unimm.report.study.tables import headline_metrics

FIGURES = ("effects", "scores", "curves")
NONE = "-"


def write(a: Path, b: Path, out: Path) -> Path:
    """Compare the studies in folders `a` and `b`; write `compare.html` and `compare.md` into `out`, return the html."""
    reports = (study_page.build(a), study_page.build(b))
    found = (_verdicts(*reports), _orderings(*reports), _scores(*reports), _ledgers(*reports))
    tables = [table for table in found if table is not None]
    context = {"reports": reports, "tables": tables, "setups": [_setup(report) for report in reports]}
    pages = environment()
    write_atomic(out / "compare.md", pages.get_template("compare.md.j2").render(**context, markdown=markdown))
    drawn = [study_page.draw(report, FIGURES) for report in reports]
    figures = [
        (name, [inline(figures[name].svg, "svg+xml") if name in figures else None for figures in drawn])
        for name in FIGURES
    ]
    page = out / "compare.html"
    write_atomic(page, pages.get_template("compare.html.j2").render(**context, figures=figures))
    return page


def _setup(report: StudyReport) -> str:
    """One line on a study: its arms, seeds and where its numbers hold."""
    plan = report.study.plan
    return f"{len(plan.arms)} arms, {len(plan.seeds)} seeds each, in {report.results.setting}"


def _names(*reports: StudyReport) -> tuple[str, str]:
    """What the columns are called; two studies of one name are told apart by their folders."""
    first, second = (report.study.plan.name for report in reports)
    if first != second:
        return first, second
    return str(reports[0].study.path), str(reports[1].study.path)


def _verdicts(*reports: StudyReport) -> PlainTable:
    """Claims of either study, with both answers; marked where the verdicts differ."""
    found = [{answer.claim.id: answer for answer in report.answers} for report in reports]
    texts = {answer.claim.id: answer.claim.text for report in reports for answer in report.answers}
    rows, marked = [], set()
    for number, (claim, text) in enumerate(texts.items()):
        pair = [answers.get(claim) for answers in found]
        if _outcome(pair[0]) != _outcome(pair[1]):
            marked.add(number)
        rows.append((text, *(_answer(answer) for answer in pair)))
    note = "Highlighted: the verdicts differ, which is no test of a difference: one may be clear and the other open."
    return PlainTable("verdicts", "Claims", ("claim", *_names(*reports)), tuple(rows), note, frozenset(marked), 3)


def _outcome(answer: Answer | None) -> Outcome | None:
    return None if answer is None else answer.verdict.outcome


def _answer(answer: Answer | None) -> str:
    return "no such claim" if answer is None else f"{answer.mark} {answer.verdict.outcome.value}. {answer.sentence}"


def _orderings(*reports: StudyReport) -> PlainTable | None:
    """The paper's ordering beside those of both studies; None unless both have arms of the paper's."""
    if not all("figure4" in report.tables for report in reports):
        return None
    rows = []
    for first, second in zip(*(report.tables["figure4"].rows for report in reports), strict=True):
        rows.append(
            (first[0], first[1], *(f"{row[3]} (same order? {row[4]})" if row[4] else row[3] for row in (first, second)))
        )
    note = reports[0].tables["figure4"].note
    headers = ("paper's metric", "paper", *_names(*reports))
    return PlainTable("orderings", "The paper's Figure 4 beside both", headers, tuple(rows), note, text_columns=4)


def _scores(*reports: StudyReport) -> PlainTable:
    """Headline scores of the arms of either study."""
    studies = [report.study for report in reports]
    metrics = {metric: study.words[metric].short for study in studies for metric in headline_metrics(study)}
    arms = dict.fromkeys(arm for report in reports for arm in report.study.plan.arms)
    rows = tuple(
        (short, arm, *(_score(report, arm, metric) for report in reports))
        for metric, short in metrics.items()
        for arm in arms
    )
    headers = ("score", "arm", *_names(*reports))
    note = f"Mean ± standard error over {' and '.join(dict.fromkeys(map(over, studies)))}."
    return PlainTable("scores", "Scores", headers, rows, note, text_columns=2)


def _score(report: StudyReport, arm: str, metric: str) -> str:
    study = report.study
    return str(mean_of(study.values(arm, metric), study.draws(arm))) if arm in study.plan.arms else NONE


def _ledgers(*reports: StudyReport) -> PlainTable:
    """Every quantity of the ledger in which an arm of one name differs between the studies."""
    cells = [_cells(report.tables["ledger"]) for report in reports]
    keys = dict.fromkeys(key for found in cells for key in found)
    pairs = {key: tuple(found.get(key, NONE) for found in cells) for key in keys}
    rows = tuple((*key, *pair) for key, pair in pairs.items() if pair[0] != pair[1])
    headers = ("quantity", "arm", *_names(*reports))
    return PlainTable(
        "ledgers", "What differs between the studies", headers, rows, f"{NONE}: not in that study.", text_columns=2
    )


def _cells(ledger: PlainTable) -> dict[tuple[str, str], str]:
    """(quantity, arm) -> cell."""
    return {(row[0], arm): text for row in ledger.rows for arm, text in zip(ledger.headers[1:], row[1:], strict=True)}
