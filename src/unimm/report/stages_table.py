"""What each stage of a run trained on, cost and scored, side by side."""

from unimm.report.plain_table import PlainTable
from unimm.report.schema import Result, StageRecord
from unimm.report.study_numbers import HEADLINE, short
from unimm.report.table import duration, number, with_error

_NOTE = (
    "Each stage starts from the averaged weights of the one before, with fresh optimiser state, and was scored on the "
    "same prompts with the same noise. The scores above are the last stage's; costs above are those of all stages."
)


def stages_table(result: Result) -> PlainTable | None:
    """One row a quantity, one column a stage; None for a run without stages."""
    if not result.stages:
        return None
    measured = {score.name for stage in result.stages for score in stage.scores}
    facts = {
        "trained on": lambda stage: stage.source,
        "strategy": lambda stage: stage.strategy,
        "learning rate": lambda stage: f"{stage.learning_rate:g}",
        "generation samples": lambda stage: f"{stage.counts.generation_samples:,}",
        "training work (TFLOP)": lambda stage: number(stage.train_flops / 1e12),
        "training time": lambda stage: duration(stage.train_seconds),
    }
    rows = [(name, *map(read, result.stages)) for name, read in facts.items()]
    rows += [(short(name), *(_score(stage, name) for stage in result.stages)) for name in HEADLINE if name in measured]
    headers = ("", *(stage.name for stage in result.stages))
    return PlainTable("stages", "Stages", headers, tuple(rows), _NOTE)


def _score(stage: StageRecord, name: str) -> str:
    found = next((score for score in stage.scores if score.name == name), None)
    return "" if found is None else with_error(found.value, found.stderr)
