"""The judge's card as a table: how it reads images whose content is known."""

from unimm.report.plain_table import PlainTable
from unimm.report.schema import Reading, Result
from unimm.report.table import number

_VIEWS = {"real": "as rendered", "decoder": "through encoder and decoder"}
_NOTE = (
    "Share of objects whose shape and colour, and of images whose number of objects, the judge reads rightly. Blur is "
    "given in shares of the width, noise in shares of the range. A loss through encoder and decoder is the decoder's "
    "and the judge's together; scores by this judge cannot be higher than that."
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
    return PlainTable("judge_card", title, headers, rows, _NOTE)


def _most_common_mistake(reading: Reading) -> str:
    """What was taken for what most often, as a share of all that truly were so."""
    mistakes = [
        (count, true, read) for true, row in reading.confusion.items() for read, count in row.items() if read != true
    ]
    if not mistakes:
        return ""
    count, true, read = max(mistakes)
    return f"{true} as {read} ({count / sum(reading.confusion[true].values()):.0%})"
