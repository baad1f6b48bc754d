"""What can stand in a scene: shapes, colours, items, and the worlds (subsets and sizes) that profiles use.

The ten colours are GenEval's. Coordinates are fractions of the image side with y pointing down, so that a scene
graph is independent of resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

SHAPES = ("circle", "square", "triangle", "cross", "star", "ring", "heart", "moon")
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.10, 0.10),
    "orange": (1.00, 0.55, 0.00),
    "yellow": (0.98, 0.93, 0.10),
    "green": (0.10, 0.65, 0.15),
    "blue": (0.10, 0.25, 0.90),
    "purple": (0.50, 0.10, 0.65),
    "pink": (1.00, 0.60, 0.75),
    "brown": (0.42, 0.24, 0.09),
    "black": (0.03, 0.03, 0.03),
    "white": (0.98, 0.98, 0.98),
}
RELATIONS = ("left of", "right of", "above", "below")
QUESTIONS = ("by_scene", "by_answer")
FAMILIES = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
BACKGROUND = (0.40, 0.62)
GAP = 3 / 64
ASLANT = 0.5  # how far, at most, a clear relation lies across its direction, as a share of how far it lies along it


@dataclass(frozen=True)
class Item:
    """One object: centre (x, y) and half-size ``radius`` in units of the image side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Bounding box (x1, y1, x2, y2) in units of the image side."""
        return (self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)

    def clear_of(self, other: Item) -> bool:
        """Whether the bounding boxes keep the gap that lets the judge separate any two items."""
        distance = max(abs(self.x - other.x), abs(self.y - other.y))
        return distance >= self.radius + other.radius + GAP

    def stands(self, relation: str, other: Item) -> bool:
        """Whether the relation holds so clearly that GenEval's rule and a reader both agree."""
        dx, dy = other.x - self.x, other.y - self.y
        along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
        sign = 1.0 if relation in ("left of", "above") else -1.0
        return sign * along >= self.radius + other.radius + GAP and abs(across) <= ASLANT * abs(along)


@dataclass(frozen=True)
class Scene:
    """Items on a uniform grey background (a level in [0, 1])."""

    items: tuple[Item, ...]
    background: float

    def signature(self) -> str:
        """Discrete content (items on a 16 x 16 grid, sizes in 32nds, background in 20ths): equal means same scene."""
        parts = sorted(f"{i.colour} {i.shape} {int(i.x * 16)} {int(i.y * 16)} {int(i.radius * 32)}" for i in self.items)
        return "; ".join([*parts, f"on {int(self.background * 20)}"])


@dataclass(frozen=True)
class World:
    """A subset of shapes and colours with the sizes that objects may have (half-size, units of the image side).

    With a ``lattice`` of n, centres lie within ``jitter`` of the centres of n x n equal cells; without, anywhere.
    ``questions``: how its scenes are asked about, one of `QUESTIONS` (`unimm.scenes.questions`).
    """

    name: str
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    radius: tuple[float, float]
    max_items: int = 4
    lattice: int | None = None
    jitter: float = 0.0
    questions: str = "by_scene"


WORLDS = {
    "scenes": World("scenes", SHAPES, tuple(COLOURS), (7 / 64, 11 / 64)),
    "scenes-nano": World(
        "scenes-nano",
        ("circle", "square", "triangle", "cross"),
        ("red", "yellow", "green", "blue", "black", "white"),
        (9 / 64, 12 / 64),
        lattice=2,
        jitter=3 / 64,
    ),
}


def world(name: str, questions: str = "by_scene") -> World:
    """The world of that name, asked about in that way; ValueError lists the known ones."""
    if name not in WORLDS:
        raise ValueError(f"unknown world {name!r}; known worlds: {', '.join(WORLDS)}")
    if questions not in QUESTIONS:
        raise ValueError(f"unknown way {questions!r} to ask about scenes; known: {', '.join(QUESTIONS)}")
    return replace(WORLDS[name], questions=questions)
