"""`unimm export`: a finished run as a model that loads without the run, its foundation or a hub.

Its model card says what the run was made to find out, from what, how it scored, and what that leaves open. One run is
one seed, so the card compares with nothing but the run's own floors and ceilings.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import yaml

from unimm.export.parts import CARD, write_manifest, write_parts
from unimm.files import as_readable_as, write_atomic, written_folder
from unimm.report.rendering import PlainTable, environment, markdown
from unimm.report.table import headline
from unimm.runs.record import CONFIG, RESULT
from unimm.runs.run import Run

COST = "Cost"
SAMPLER = {"guidance": "1.0", "steps": "10"}  # settings of samplers, with values to show


def model_card(run: Run) -> str:
    """``README.md``: YAML front matter as hubs read it, then the card."""
    config, result = run.config, run.result
    parts = [config.encoder.name, config.objective.name, config.strategy.name]
    front = {"library_name": "unimm", "pipeline_tag": "text-to-image", "tags": ["unimm", "ablation", *parts]}
    template = environment().get_template("model_card.md.j2")
    return template.render(
        front=yaml.safe_dump(front, sort_keys=False),
        config=config,
        result=result,
        made_of=markdown(_made_of(run)),
        trained_on=markdown(_trained_on(run)),
        scores=markdown(_scores(run)),
        protocols=[(score.name, _compact(score.protocol)) for score in result.scores],
        deterministic=run.arm.objective.deterministic,
        sampler=[f"{name}={value}" for name, value in SAMPLER.items() if name in config.objective.config.model_dump()],
    )


def _made_of(run: Run) -> PlainTable:
    config, result = run.config, run.result
    choices = ("encoder", "objective", "strategy", "backbone", "head")
    rows = [(name, _compact(getattr(config, name).model_dump())) for name in choices]
    rows += [
        ("settings", config.settings),
        ("foundation", config.foundation),
        ("parameters", f"{result.parameters.trainable:,} trained, {result.parameters.frozen:,} frozen"),
        *(
            (f"hash: {name}", value if isinstance(value, str) else _compact(value))
            for name, value in result.hashes.items()
        ),
    ]
    return PlainTable("made_of", "", ("part", "choice"), tuple(rows), text_columns=2)


def _trained_on(run: Run) -> PlainTable:
    config, result = run.config, run.result
    rows = [
        ("world", result.world),
        ("images", f"{result.resolution} pixels a side" if result.resolution else "of the foundation's resolution"),
        ("source", _compact(config.source.model_dump(mode="json"))),
        ("data", _compact(config.data.model_dump(mode="json"))),
        ("generation samples", f"{result.counts.generation_samples:,}"),
        ("understanding samples", f"{result.counts.understanding_samples:,}"),
        ("steps", f"{result.counts.steps:,}"),
        ("training", _compact(config.training.model_dump(mode="json"))),
        ("seed", str(result.seed)),
        ("device", result.device),
        ("started", result.started.isoformat()),
        ("versions", _compact(result.versions)),
        *((f"code: {name}", str(code)) for name, code in result.code.items()),
        *((f"code that exports: {name}", str(code)) for name, code in run.code.items()),
    ]
    return PlainTable("trained_on", "", ("what", "value"), tuple(rows), text_columns=2)


def _scores(run: Run) -> PlainTable:
    table = headline(run.result)
    rows = tuple(
        (row.group.partition(" (")[0], row.label, row.value, row.n, *row.references)
        for row in table.rows
        if row.group != COST
    )
    return PlainTable("scores", "", ("group", "score", "value", "n", *table.references), rows, text_columns=2)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def export_run(run_dir: Path, folder: Path) -> Path:
    """Write the run's model into ``folder``, whole or not at all; returns the path of its card.

    Raises:
        ValueError: the run is unfinished or not what was scored, or its decoder cannot be exported.
        FileExistsError: ``folder`` holds something.
    """
    with written_folder(folder) as unfinished:
        run = Run.finished(run_dir, torch.device("cpu"))
        pipeline = run.model().pipeline()
        write_parts(pipeline, run.config, unfinished)
        for name in (CONFIG, RESULT):
            shutil.copyfile(run_dir / name, unfinished / name)
        write_atomic(unfinished / CARD, model_card(run))
        write_manifest(unfinished, run.code)
        as_readable_as(unfinished / CARD, unfinished)
    return folder / CARD
