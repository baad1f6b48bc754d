"""The details of a run's page as tables, each only where the run measured it.

What each stage trained on, cost and scored; understanding before and after generation training; when the run first
reached its preset scores; and how the judge reads images whose content is known (the judge's card).
"""

from collections.abc import Callable

from unimm.analysis.judging import PASSES, failures
from unimm.evaluation.words import Glossary, Words
from unimm.report.rendering import PlainTable
from unimm.report.table import duration, number, with_error
from unimm.runs.record import Bounds, Change, Reached, Reading, Result, StageRecord

_VIEWS = {"real": "as rendered", "decoder": "through encoder and decoder"}
_JUDGE_NOTE = (
    "Share of objects whose shape and colour, and of images whose number of objects, the judge reads rightly. Blur is "
    "given in shares of the width, noise in shares of the range. A loss through encoder and decoder is the decoder's "
    "and the judge's together; scores by this judge cannot be higher than that."
)
_REACHED_NOTE = (
    "First crossing on validation prompts, log-linear between snapshots, that the next snapshot confirms. Targets are "
    "the same for every run. A run that has not reached one by its last snapshot is censored: it is at least so dear, "
    "and comparisons keep it. Training only; the foundation's cost stands in its card."
)
_FIRST_STEPS = (
    " FLOPs are of the first eight steps, whose share of long captions is chance: some per cent off those of all steps."
)
_EXACT = (
    "The backbone is frozen: its weights came out as they went in (hash) and so did its logits, so that nothing was "
    "lost by construction. That is a fact and no estimate; it has no interval."
)
_ESTIMATE = (
    "Share of the same questions answered rightly; after minus before, with a 95 % interval over questions (Agresti "
    "and Min 2005). One run is one seed: the interval does not cover other trainings."
)
_NONE = (
    "There is no before: this run's backbone started from language alone and could not answer questions about images. "
    "Compare its understanding score with that of a sequential arm, which saw as many questions."
)
_STAGES_NOTE = (
    "Each stage starts from the averaged weights of the one before, with fresh optimiser state, and was scored on the "
    "same prompts with the same noise. The scores above are the last stage's; costs above are those of all stages."
)


def judge_table(result: Result) -> PlainTable | None:
    """One row a kind of image; None for a run that has no card."""
    card = result.judge_card
    if card is None:
        return None
    rows = tuple(
        (
            _VIEWS.get(name, name),
            *(number(reading.accuracy) for reading in (view.shape, view.colour, view.count)),
            number(view.surplus),
            "; ".join(filter(None, map(_most_common_mistake, (view.shape, view.colour, view.count)))) or "none",
        )
        for name, view in card.views.items()
    )
    headers = ("real scenes", "shape", "colour", "number", "surplus objects an image", "most common mistakes")
    title = f"The judge on {card.images} images whose content is known"
    return PlainTable("judge_card", title, headers, rows, _JUDGE_NOTE)


def cards_table(result: Result) -> PlainTable | None:
    """One row a judge and kind of fact, of judges that were tried on pictures whose content is known."""
    rows = [
        (judge, kind, f"{read.true:,} / {read.false:,}", *map(number, (read.accuracy, read.missed, read.false_finds)))
        for judge, card in result.judge_cards.items()
        for kind, read in card.kinds.items()
    ]
    if not rows:
        return None
    headers = ("judge", "facts", "true / false", "accuracy", "missed", "found though absent")
    return PlainTable("judge_cards", "The judges' cards", headers, tuple(rows), _cards_note(result), text_columns=3)


def _cards_note(result: Result) -> str:
    sentences = [f"Accuracy is the mean of the shares right among facts that hold and that do not; {PASSES:g} passes."]
    for judge, card in result.judge_cards.items():
        wrong = failures(card)
        said = f"fails its card: {'; '.join(wrong)}. No claim rests on its scores" if wrong else "passes"
        sentences.append(f"{judge}, tried on {card.source}, {said}.")
    return " ".join(sentences)


def left_out_table(result: Result) -> PlainTable | None:
    """What this test cannot answer; None where nothing is left out."""
    rows = tuple((sentence,) for sentence in result.left_out)
    return PlainTable("left_out", "Left out of this test", ("what, and why",), rows, "") if rows else None


def _most_common_mistake(reading: Reading) -> str:
    """What was taken for what most often, as a share of all that truly were so."""
    mistakes = [
        (count, true, read) for true, row in reading.confusion.items() for read, count in row.items() if read != true
    ]
    if not mistakes:
        return ""
    count, true, read = max(mistakes)
    return f"{true} as {read} ({count / sum(reading.confusion[true].values()):.0%})"


def reached_table(result: Result) -> PlainTable | None:
    """One row a preset score; None for a run without a learning curve."""
    if result.efficiency is None or not result.efficiency.reached:
        return None
    glossary = Glossary(result.words)
    rows = tuple(
        (
            f"{_target(glossary[row.score])} {row.target:g}",
            _outcome(row, result.curve[-1].samples),
            _shown(row.samples, "{:,.0f}".format),
            _shown(row.flops, lambda value: number(value / 1e12)),
            _shown(row.seconds, duration),
        )
        for row in result.efficiency.reached
    )
    headers = ("score", "reached?", "samples", "TFLOP", "training time")
    note = _REACHED_NOTE + ("" if result.efficiency.passes else _FIRST_STEPS)
    return PlainTable("reached", "Cost of reaching a preset score", headers, rows, note, text_columns=2)


def _target(words: Words) -> str:
    return f"{words.section}, {words.label}:"


def _outcome(row: Reached, last: int) -> str:
    if row.samples.high is not None:
        return "yes" if row.samples.low else "before the first snapshot"
    if row.samples.low < last:
        return "at the last snapshot only, which none confirms"
    return f"not reached in {last:,} samples"


def _shown(bounds: Bounds, form: Callable[[float], str]) -> str:
    if bounds.high is None:
        return f"≥ {form(bounds.low)}"
    return form(bounds.low) if bounds.low == bounds.high else f"< {form(bounds.high)}"


def retention_table(result: Result) -> PlainTable | None:
    """One row a kind of question; no rows where there was no understanding before; None where nobody asked."""
    if result.retention is None:
        return None
    rows = tuple(
        (
            kind,
            f"{change.n:,}",
            number(change.before),
            number(change.after),
            _effect(change),
            str(change.gained),
            str(change.lost),
        )
        for kind, change in result.retention.kinds.items()
    )
    headers = ("questions", "n", "before", "after", "effect (interval)", "became right", "became wrong")
    note = _NONE if not rows else _EXACT if result.retention.exact else _ESTIMATE
    title = "Understanding before and after generation training"
    marked = frozenset(i for i, row in enumerate(rows) if row[0] == "overall")
    return PlainTable("retention", title, headers, rows, note, marked)


def _effect(change: Change) -> str:
    if change.low is None or change.high is None:
        return "exactly 0"
    return f"{change.effect:+.3f} ({change.low:+.3f} to {change.high:+.3f})"


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
    glossary = Glossary(result.words)
    rows += [
        (glossary[name].short, *(_score(stage, name) for stage in result.stages))
        for name in glossary.headlines(measured)
    ]
    headers = ("", *(stage.name for stage in result.stages))
    return PlainTable("stages", "Stages", headers, tuple(rows), _STAGES_NOTE)


def _score(stage: StageRecord, name: str) -> str:
    found = next((score for score in stage.scores if score.name == name), None)
    return "" if found is None else with_error(found.value, found.stderr)
