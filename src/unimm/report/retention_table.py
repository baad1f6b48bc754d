"""Understanding before and after generation training as a table."""

from unimm.report.plain_table import PlainTable
from unimm.report.schema import Change, Result
from unimm.report.table import number

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
