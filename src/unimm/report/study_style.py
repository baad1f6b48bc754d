"""How arms look in every figure: a colour and a marker by encoder and objective, filled or open by strategy.

Colours are Okabe and Ito's, which colour-blind readers tell apart; the marker says the same once more.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from unimm.report.study_folder import Study

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


def looks(study: Study) -> dict[str, Look]:
    """A look for every arm: pairs of encoder and objective, and strategies, in the order in which the plan has them."""
    arms = study.plan.arms
    pair = {name: (arm.component("encoder"), arm.component("objective")) for name, arm in arms.items()}
    by_pair = dict(zip(dict.fromkeys(pair.values()), cycle(_LOOKS), strict=False))
    by_strategy = dict(
        zip(dict.fromkeys(arm.component("strategy") for arm in arms.values()), cycle(_LINES), strict=False)
    )
    found = {}
    for name, arm in arms.items():
        (colour, marker), line = by_pair[pair[name]], by_strategy[arm.component("strategy")]
        found[name] = Look(colour, marker, line, filled=line == _LINES[0])
    return found


def legend(figure: Figure, study: Study, columns: int = 4) -> None:
    """One entry an arm, below the panels."""
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, ls=look.line, markerfacecolor=look.face, label=arm)
        for arm, look in looks(study).items()
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


def picture(figure: Figure) -> Picture:
    """The figure as SVG, the same bytes for the same numbers, and as PNG."""
    with matplotlib.rc_context({"svg.hashsalt": "unimm", "svg.fonttype": "path"}):
        svg = _saved(figure, "svg", {"Date": None})
    figure.set_layout_engine("none")  # Everything is in place by now: laying it out again would double the time.
    return Picture(svg, _saved(figure, "png", {"Software": None}))


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
    return stream.getvalue()


def panels(figure: Figure, rows: int, columns: int, used: int) -> Sequence[Axes]:
    """The first `used` of a grid of axes, the others hidden."""
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[used:]:
        axis.set_visible(False)
    return axes[:used]
