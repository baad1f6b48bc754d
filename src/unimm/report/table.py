"""The headline table, shared by page and terminal: one row per score, with its floors and ceilings."""

import math
from dataclasses import dataclass

from unimm.runs.record import Result, Score

_GENEVAL = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
_ATOMS = ("object", "shape", "colour", "count", "relation")
_SOURCES = {
    "latents": "latents' noise",
    "decoder": "decoder's noise",
    "seeds": "seeds",
}
_VIEWS = {
    **{f"{factor}_entropy": f"{factor} entropy" for factor in ("place", "size", "colour")},
    **{f"{factor}_coverage": f"{factor} coverage" for factor in ("place", "size", "colour")},
    "vendi": "Vendi score",
    "identical": "all equal",
}
_ABILITIES = ("exists", "count", "colour", "relation")

_TASKS_GROUP = "GenEval tasks (fraction of images correct)"
_ATOMS_GROUP = "Atoms (fraction of single facts correct)"
_LONG_TASKS_GROUP = "GenEval tasks in the wording of long captions (fraction of images correct)"
_LONG_ATOMS_GROUP = "Atoms in the wording of long captions (fraction of single facts correct)"
_IMAGES_GROUP = "Images (distances: lower is better; density, coverage and agreement with text: higher)"
_COMBINATIONS_GROUP = "New compositions (fraction of images correct; neither counts in overall)"
_DIVERSITY_GROUP = (
    "Diversity of one prompt's images (what varies: its measure; entropy and coverage are 1 for the world itself)"
)
_COPIES_GROUP = "Copies (fraction of images; nearer to training images than to unseen ones: 0.5 by chance)"
_BIAS_GROUP = "Bias diagnostics (no scores: by the CLIP that arms train against, which flatters those that predict it)"
_DESCRIPTIONS_GROUP = "Descriptions of images (F1 of stated objects; share of stated relations that hold)"
_ANSWERS_GROUP = "Understanding (fraction of answers correct)"

# Score name -> (group, label), in the order in which rows are shown.
_KNOWN: dict[str, tuple[str, str]] = {
    **{f"geneval/{task}": (_TASKS_GROUP, task.replace("_", " ")) for task in _GENEVAL},
    "geneval/overall": (_TASKS_GROUP, "overall"),
    "combinations/held_out": (_COMBINATIONS_GROUP, "never seen in training"),
    "combinations/seen": (_COMBINATIONS_GROUP, "seen in training"),
    "geneval/held_out": (_COMBINATIONS_GROUP, "never seen but in diagonals, which count here"),
    "geneval/seen": (_COMBINATIONS_GROUP, "seen in training, diagonals count"),
    **{f"atoms/{atom}": (_ATOMS_GROUP, atom) for atom in _ATOMS},
    "atoms/overall": (_ATOMS_GROUP, "overall"),
    **{f"geneval_long/{task}": (_LONG_TASKS_GROUP, task.replace("_", " ")) for task in (*_GENEVAL, "overall")},
    **{f"atoms_long/{atom}": (_LONG_ATOMS_GROUP, atom) for atom in (*_ATOMS, "overall")},
    "frechet_distance": (_IMAGES_GROUP, "Fréchet distance"),
    "kernel_distance": (_IMAGES_GROUP, "kernel distance"),
    "density": (_IMAGES_GROUP, "density (real images: 1)"),
    "coverage": (_IMAGES_GROUP, "coverage of real images"),
    "clip_score/a": (_IMAGES_GROUP, "CLIP score, evaluator a"),
    "clip_score/b": (_IMAGES_GROUP, "CLIP score, evaluator b"),
    "r_precision/a": (_IMAGES_GROUP, "R-precision, evaluator a"),
    "r_precision/b": (_IMAGES_GROUP, "R-precision, evaluator b"),
    "copies/nearer_training": (_COPIES_GROUP, "nearest to a training image"),
    "copies/identical": (_COPIES_GROUP, "equal to another prompt's image"),
    **{
        f"diversity/{source}/{view}": (_DIVERSITY_GROUP, f"{words}: {label}")
        for source, words in _SOURCES.items()
        for view, label in _VIEWS.items()
    },
    "bias/clip_score/target": (_BIAS_GROUP, "cosine x 100 by the target CLIP"),
    **{f"understanding/{kind}": (_ANSWERS_GROUP, kind) for kind in _ABILITIES},
    "understanding/overall": (_ANSWERS_GROUP, "overall"),
    "descriptions/objects": (_DESCRIPTIONS_GROUP, "coloured shapes"),
    "descriptions/places": (_DESCRIPTIONS_GROUP, "with their place"),
    "descriptions/relations": (_DESCRIPTIONS_GROUP, "relations"),
    "descriptions/exact": (_DESCRIPTIONS_GROUP, "every object right"),
}


@dataclass(frozen=True)
class ScoreRow:
    """One line of the table, ready to print; `references` follows the table's floor and ceiling columns."""

    group: str
    name: str
    label: str
    value: str
    n: str
    references: tuple[str, ...]

    @property
    def overall(self) -> bool:
        """Whether the row sums up its group."""
        return self.name.endswith("/overall")


@dataclass(frozen=True)
class Table:
    """The headline table: the titles of its floor and ceiling columns, and its rows."""

    references: tuple[str, ...]
    rows: tuple[ScoreRow, ...]


def headline(result: Result) -> Table:
    """Every score of the run, plus what it cost, beside each floor and ceiling."""
    columns = {"floor": _merged(result.floors)}
    columns |= {f"{name.replace('_', ' ')} ceiling": values for name, values in result.ceilings.items()}
    scores = {score.name: score for score in result.scores}
    rows = []
    for name in ordered({*scores, *(key for values in columns.values() for key in values)}):
        group, label = described(name)
        score = scores.get(name)
        references = tuple(number(values[name]) if name in values else "" for values in columns.values())
        value, n = (_shown(score), f"{score.n:,}") if score else ("", "")
        rows.append(ScoreRow(group, name, label, value, n, references))
    return Table(tuple(columns), (*rows, *_cost(result, len(columns))))


def _merged(floors: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """All floors in one column: each score has one floor, the cheapest way to get it without doing the task."""
    merged: dict[str, float | None] = {}
    for values in floors.values():
        merged |= values
    return merged


def described(name: str) -> tuple[str, str]:
    """Group and label of a score; a plug-in's keeps its own name."""
    return _KNOWN.get(name, ("Other scores", name))


def ordered(names: set[str]) -> list[str]:
    """Known names in the table's order, then the others (plug-in metrics) by name."""
    return [name for name in _KNOWN if name in names] + sorted(names - _KNOWN.keys())


def _cost(result: Result, columns: int) -> list[ScoreRow]:
    """What the run cost, as rows of the same table."""
    speed = result.speed
    cells: tuple[tuple[str, str], ...] = (
        ("training speed (samples/s)", number(speed.samples_per_second)),
        ("training time", duration(speed.train_seconds)),
        ("scoring time", duration(speed.score_seconds)),
        ("wall time", duration(speed.wall_seconds)),
        ("waiting for data (fraction)", number(speed.data_wait_fraction)),
    )
    if result.efficiency is not None:
        spent = result.efficiency
        cells += (
            ("training work (TFLOP)", number(spent.train_flops / 1e12)),
            ("sampling work (GFLOP an image)", number(spent.sampling_flops_per_image / 1e9)),
            ("sampling time (seconds an image)", number(spent.sampling_seconds_per_image)),
            ("peak memory (GiB)", number(spent.peak_memory_bytes / 2**30)),
        )
    return [ScoreRow("Cost", label, label, value, "", ("",) * columns) for label, value in cells]


def number(value: float | None) -> str:
    """Three decimals below ten, fewer above; `n/a` for what could not be measured."""
    if value is None or not math.isfinite(value):
        return "n/a"
    decimals = next((d for limit, d in ((10, 3), (100, 2), (1000, 1)) if abs(value) < limit), 0)
    return f"{value:,.{decimals}f}"


def _shown(score: Score) -> str:
    """A score's value, marked where so few images bias it."""
    return with_error(score.value, score.stderr) + (" (biased)" if score.protocol.get("biased") else "")


def with_error(value: float | None, stderr: float | None) -> str:
    """A value and, where there is one, its standard error."""
    return number(value) if value is None or stderr is None else f"{number(value)} ± {number(stderr)}"


def duration(seconds: float | None) -> str:
    """Seconds, or minutes or hours once there are enough of them."""
    if seconds is None or not math.isfinite(seconds):
        return "n/a"
    if seconds < 600:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
