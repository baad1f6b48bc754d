"""A map of claims: which ask one question under which circumstance, so that a picture shows where an answer turns.

    map:
      rows: [flow matching over regression, CLIP over VAE]
      paper: [fm_long, clip_long]                     # the cell of each row that the paper has
      axes:
        what captions leave open:
          place, size, background: [fm_short, clip_short]
          nothing: [fm_long, clip_long]
        backbone:
          random weights: [null, clip_random]         # null: this row asks nothing here

Rows are questions, columns the levels of axes; each cell is a claim's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Column(NamedTuple):
    """A level of an axis, with a claim's id for each row, None where the row asks nothing."""

    axis: str
    level: str
    cells: tuple[str | None, ...]


class ClaimMap(BaseModel):
    """Rows, the paper's cell of each, and columns by axis."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[tuple[str, ...], Field(min_length=1)]
    paper: tuple[str | None, ...]
    axes: Annotated[dict[str, dict[str, tuple[str | None, ...]]], Field(min_length=1)]

    @property
    def columns(self) -> list[Column]:
        """Every level of every axis, in order."""
        return [Column(axis, level, cells) for axis, levels in self.axes.items() for level, cells in levels.items()]

    def references(self) -> Iterator[str]:
        """The id of every claim in it."""
        yield from (name for column in self.columns for name in column.cells if name is not None)

    @model_validator(mode="after")
    def _is_whole(self) -> ClaimMap:
        for where, cells in [("paper", self.paper), *((f"axes.{c.axis}.{c.level}", c.cells) for c in self.columns)]:
            if len(cells) != len(self.rows):
                raise ValueError(f"{where} has {len(cells)} entries for {len(self.rows)} rows; write null for none")
        for row, (label, name) in enumerate(zip(self.rows, self.paper, strict=True)):
            if name is not None and name not in {column.cells[row] for column in self.columns}:
                raise ValueError(f"paper: {name!r} is no cell of the row {label!r}")
        return self
