"""How arms look in every figure: a colour and a marker by encoder and objective, filled or open by strategy.

Colours are Okabe and Ito's, which colour-blind readers tell apart; the marker says the same once more.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from unimm.report.study.scored import ScoredArm

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
GREY, LIGHT = "#595959", "#E4E4E4"
_LOOKS = (
    (BLUE, "o"),
    (VERMILION, "s"),
    (GREEN, "^"),
    (ORANGE, "D"),
    ("#CC79A7", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
)
_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Look:
    """Colour, marker, line style, and whether markers are filled."""

    colour: str
    marker: str
    line: str
    filled: bool

    @property
    def face(self) -> str:
        """Colour inside a marker."""
        return self.colour if self.filled else "white"


@dataclass(frozen=True)
class Picture:
    """A figure as both files."""

    svg: bytes
    png: bytes


def looks(arms: Mapping[str, ScoredArm]) -> dict[str, Look]:
    """A look for every arm: pairs of encoder and objective, and strategies, in the order in which the plan has them.

    Arms that differ in neither (one of them is tuned, say) get different lines as if they were other strategies.
    """
    pairs = {name: (arm.component("encoder"), arm.component("objective")) for name, arm in arms.items()}
    by_pair = {pair: _look(number) for number, pair in enumerate(dict.fromkeys(pairs.values()))}
    seen: Counter[tuple[tuple[str, str], str]] = Counter()
    groups = {}
    for name, arm in arms.items():
        strategy = arm.component("strategy")
        groups[name] = (seen[pairs[name], strategy], strategy)
        seen[pairs[name], strategy] += 1
    by_group = dict(
        zip(sorted(dict.fromkeys(groups.values()), key=lambda group: group[0]), cycle(_LINES), strict=False)
    )
    return {
        name: Look(*by_pair[pairs[name]], by_group[groups[name]], filled=by_group[groups[name]] == _LINES[0])
        for name in arms
    }


def _look(number: int) -> tuple[str, str]:
    """A colour and a marker; after all colours they come again with other markers."""
    colour, marker = number % len(_LOOKS), (number + number // len(_LOOKS)) % len(_LOOKS)
    return _LOOKS[colour][0], _LOOKS[marker][1]


def legend(figure: Figure, arms: Mapping[str, ScoredArm], columns: int = 4) -> None:
    """One entry an arm, below the panels."""
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.line, markerfacecolor=look.face, label=arm)
        for arm, look in looks(arms).items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def plain(axis: Axes) -> None:
    """Only the two axes that carry numbers, and a light grid behind."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=LIGHT, linewidth=0.8)
    axis.set_axisbelow(True)


def log_ticks(axis: Axes, numbers: str) -> None:
    """A logarithmic x axis with few labels, none overlapping; `numbers` is their format."""
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.xaxis.set_major_formatter(numbers)
    axis.xaxis.set_minor_formatter(NullFormatter())


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches whose parts do not overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def picture(figure: Figure, *, fitted: bool = False) -> Picture:
    """The figure as SVG, the same bytes for the same numbers, and as PNG.

    `fitted` makes the canvas as large as what is on it. Axes that show an image keep its shape, which the layout does
    not know: it puts their labels partly outside of a canvas of a given size.
    """
    box = "tight" if fitted else None
    with matplotlib.rc_context({"svg.hashsalt": "unimm", "svg.fonttype": "path"}):
        svg = _saved(figure, "svg", {"Date": None}, box)
    figure.set_layout_engine("none")  # Everything is in place by now: laying it out again would double the time.
    return Picture(svg, _saved(figure, "png", {"Software": None}, box))


def _saved(figure: Figure, kind: str, metadata: dict[str, None], box: str | None) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=150, metadata=metadata, bbox_inches=box)
    return stream.getvalue()


def panels(figure: Figure, rows: int, columns: int, used: int) -> Sequence[Axes]:
    """The first `used` of a grid of axes, the others hidden."""
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[used:]:
        axis.set_visible(False)
    return axes[:used]
