"""The model card of an exported run: what it was made to find out, from what, how it scored, and what that leaves open.

One run is one seed, so the card compares with nothing but the run's own floors and ceilings.
"""

from __future__ import annotations

import json

import yaml

from unimm.leaving.finished import FinishedRun
from unimm.report.plain_table import PlainTable, markdown
from unimm.report.rendering import environment
from unimm.report.table import headline

COST = "Cost"


def model_card(run: FinishedRun) -> str:
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
        deterministic=not any(field in type(config.objective.config).model_fields for field in ("steps", "guidance")),
    )


def _made_of(run: FinishedRun) -> PlainTable:
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


def _trained_on(run: FinishedRun) -> PlainTable:
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
    ]
    return PlainTable("trained_on", "", ("what", "value"), tuple(rows), text_columns=2)


def _scores(run: FinishedRun) -> PlainTable:
    table = headline(run.result)
    rows = tuple(
        (row.group.partition(" (")[0], row.label, row.value, row.n, *row.references)
        for row in table.rows
        if row.group != COST
    )
    return PlainTable("scores", "", ("group", "score", "value", "n", *table.references), rows, text_columns=2)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
