"""Writes a run's page: `report.html`, a single file, and `report.md` for diffs and terminals."""

import json
from pathlib import Path
from typing import Any

from unimm.files import write_atomic
from unimm.report import folder
from unimm.report.figures import learning_curve, training_curves
from unimm.report.judge_table import judge_table
from unimm.report.plain_table import markdown
from unimm.report.reached_table import reached_table
from unimm.report.rendering import environment, inline
from unimm.report.retention_table import retention_table
from unimm.report.schema import Result
from unimm.report.stages_table import stages_table
from unimm.report.table import headline

FIGURE, CURVE = "figures/training.png", "figures/curve.png"
DETAILS = (stages_table, retention_table, reached_table, judge_table)


def write(run_dir: Path) -> Path:
    """Read the finished run in `run_dir`, write both reports there, and return the path of the html one.

    The stages of a run have pages of their own in their folders, where these are there.
    """
    run = folder.read(run_dir)
    for stage in run.result.stages:
        if (run_dir / stage.name / "metrics.jsonl").is_file():
            write(run_dir / stage.name)
    figure = training_curves(run.steps) if run.steps else None
    curve = learning_curve(run.result.curve) if run.result.curve else None
    context = {
        "result": run.result,
        "table": headline(run.result),
        "details": [found for build in DETAILS if (found := build(run.result)) is not None],
        "samples": run.samples,
        "config": run.config,
        "provenance": _provenance(run.result),
        "protocols": [(score.name, _compact(score.protocol)) for score in run.result.scores],
    }
    templates = environment()
    html = templates.get_template("report.html.j2").render(
        **context,
        figure=inline(figure, "png") if figure else None,
        curve=inline(curve, "png") if curve else None,
        images=[inline(run.image(sample), "png") for sample in run.samples],
    )
    if figure:
        write_atomic(run_dir / FIGURE, figure)
    if curve:
        write_atomic(run_dir / CURVE, curve)
    text = templates.get_template("report.md.j2").render(
        **context, markdown=markdown, figure=FIGURE if figure else None, curve=CURVE if curve else None
    )
    write_atomic(run_dir / "report.md", text)
    page = run_dir / "report.html"
    write_atomic(page, html)
    return page


def _provenance(result: Result) -> list[tuple[str, str]]:
    """Where the numbers come from, as (what, value) pairs."""
    unchanged = {True: "yes", False: "NO", None: "not promised by this arm"}
    counts, parameters = result.counts, result.parameters
    return [
        ("started", result.started.isoformat()),
        ("device", result.device),
        ("world", result.world),
        ("settings", result.settings),
        ("generation samples", f"{counts.generation_samples:,}"),
        ("understanding samples", f"{counts.understanding_samples:,}"),
        ("steps", f"{counts.steps:,}"),
        ("trainable parameters", f"{parameters.trainable:,}"),
        ("frozen parameters", f"{parameters.frozen:,}"),
        ("backbone unchanged by training", unchanged[result.invariants.backbone_unchanged]),
        *((f"hash: {name}", _plain(value)) for name, value in result.hashes.items()),
        *((f"version: {name}", _plain(value)) for name, value in result.versions.items()),
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
