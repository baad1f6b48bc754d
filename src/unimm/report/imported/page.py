"""Imports a table of scores as a study, and writes its page: the answers, tables and figures that a table allows.

The folder keeps `plan.json`, frozen before the table was opened, and `scores.csv`, the table as it was read, so that
the page can be made again from both alone.
"""

from __future__ import annotations

import hashlib
from math import isnan
from pathlib import Path

from unimm.analysis.claims import Invariant, Vocabulary, read_claims, unknown_names
from unimm.report.imported import plan as plans
from unimm.report.imported.evidence import evidence, not_known
from unimm.report.imported.harness import read_logs
from unimm.report.imported.plan import SCORES
from unimm.report.imported.study import ImportedStudy, build, prompts_differ
from unimm.report.imported.table import FACT, Row, cells_of, read_table, write_table
from unimm.report.rendering import PlainTable
from unimm.report.study.analysis_code import analysis_code
from unimm.report.study.answers import Answer, answers, details, scopes, tally
from unimm.report.study.effects import effects_figure
from unimm.report.study.every_claim import named_runs, shortened
from unimm.report.study.evidence import FACTS, GUARDS
from unimm.report.study.figures import scores_figure
from unimm.report.study.numbers import over
from unimm.report.study.page import lay_out, write_figures, write_tables
from unimm.report.study.tables import ANALYSIS, all_scores, arms_table, facets_table, guards_table

SETTING = "runs made elsewhere, which unimm has not seen"


def import_table(
    source: Path, claims: Path, folder: Path, pair_by: str | None = None, setting: str = SETTING
) -> tuple[Path, ImportedStudy, list[Answer]]:
    """Fix claims and pairing in ``folder``, then read the table or folder of logs, decide, and write the page.

    Returns the page, the study and the answers.

    Raises:
        ValueError: the folder was planned otherwise; the claims or the table are malformed or do not fit together.
    """
    frozen = plans.freeze(folder, read_claims(claims), pair_by, setting)
    rows = read_logs(source) if source.is_dir() else read_table(source)
    _check_names(frozen, rows, claims)
    build(folder, frozen, rows)  # what contradicts itself is said before it is kept
    write_table(folder / SCORES, map(cells_of, rows))
    return _write(folder)


def write(folder: Path) -> Path:
    """Make the page of an import again, from its plan and its table."""
    return _write(folder)[0]


def _write(folder: Path) -> tuple[Path, ImportedStudy, list[Answer]]:
    study = build(folder, plans.read(folder), read_table(folder / SCORES))
    results = evidence(study)
    found = answers(study, results)
    tables = (
        details(found),
        arms_table(study),
        facets_table(study),
        all_scores(study),
        _completeness_table(study),
        guards_table(study, results),
        _provenance_table(study),
    )
    shown = {table.name: table for table in tables if table is not None}
    pictures = {"effects": effects_figure(study, found, results), "scores": scores_figure(study)}
    figures = {name: picture for name, picture in pictures.items() if picture is not None}
    write_tables(folder, shown.values())
    write_figures(folder, figures)
    context = {
        "study": study,
        "plan": study.plan,
        "setting": results.setting,
        "covers": results.covers,
        "over": over(study),
        "answers": found,
        "tally": tally(found),
        "scopes": scopes(found),
        "tables": shown,
        "grid": None,
        "refused": [],
        "unfinished": len(study.missing),
        "imported": {"made": _made(study), "not_known": not_known(study, results)},
    }
    return lay_out(folder, context, figures), study, found


def _check_names(frozen: plans.ImportPlan, rows: list[Row], claims: Path) -> None:
    """ValueError with a line for every name of the claims that the table does not have."""
    facts = {row.metric.removeprefix(FACT) for row in rows if row.metric.startswith(FACT)}
    metrics = dict.fromkeys(row.metric for row in rows if not row.metric.startswith(FACT))
    known = Vocabulary(dict.fromkeys(row.arm for row in rows), metrics, GUARDS, facts | FACTS.keys())
    if lines := unknown_names(frozen.decided(), known):
        raise ValueError("\n".join(f"{claims}: {line}" for line in lines))


def _made(study: ImportedStudy) -> str:
    """How the numbers came here, and what was fixed when."""
    pairing = "pairing by seed for all of them" if study.frozen.pair_by else "each with its own pairing"
    return (
        f"these numbers were read from a table; unimm ran none of these runs and saw none of their files. Claims, "
        f"{pairing}, were fixed here on {study.frozen.created}, before the table was read; what was known before that, "
        "unimm cannot know."
    )


def remarks(study: ImportedStudy) -> list[str]:
    """A line for each kind of gap: seeds that an arm lacks, claimed scores that were not measured, other prompts."""
    lines = [shortened("missing: ", [f"{arm} seed {seed}" for arm, seed in study.missing])] if study.missing else []
    claimed = [claim for claim in study.plan.claims.claims if not isinstance(claim, Invariant)]
    gaps = [
        f"{claim.metric} of {name}"
        for claim in claimed
        for name, run in named_runs(study.runs, claim)
        if isnan(run.value(claim.metric))
    ]
    if gaps:
        lines.append(shortened("not measured: ", list(dict.fromkeys(gaps))))
    metrics = dict.fromkeys(claim.metric for claim in claimed)
    return lines + [found for metric in metrics if (found := prompts_differ(study.named, metric))]


def _completeness_table(study: ImportedStudy) -> PlainTable:
    """Every arm and seed: how many scores it has, or that it is missing."""
    seeds = study.plan.seeds
    rows = tuple((arm, *(_state(study, arm, seed) for seed in seeds)) for arm in study.plan.arms)
    marked = frozenset(i for i, arm in enumerate(study.plan.arms) if len(study.finished(arm)) < len(seeds))
    headers = ("arm", *(f"seed {seed}" for seed in seeds))
    note = "Every seed of any arm is expected of all. Highlighted: arms with missing runs."
    return PlainTable("completeness", "Runs", headers, rows, note, marked)


def _state(study: ImportedStudy, arm: str, seed: int) -> str:
    run = study.runs[arm].get(seed)
    return study.missing[arm, seed] if run is None else f"{len(run.result.scores)} scores"


def _provenance_table(study: ImportedStudy) -> PlainTable:
    """Table, plan and analysis."""
    plan = study.frozen
    table = hashlib.sha256((study.path / SCORES).read_bytes()).hexdigest()
    rows = (
        ("plan", plan.name),
        ("plan's hash", f"{plan.hash}; hash holds"),
        ("plan frozen, before the table was read", plan.created),
        ("arms compared", f"by {plan.pair_by}" if plan.pair_by else "as each claim says"),
        ("table", f"{SCORES}, SHA-256 {table}"),
        (ANALYSIS, analysis_code()),
        ("seeds", ", ".join(map(str, study.plan.seeds))),
    )
    return PlainTable("provenance", "Provenance", ("what", "value"), rows, text_columns=2)
