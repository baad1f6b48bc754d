"""A contact sheet: one row for a prompt, one column for a seed, small images enlarged without smoothing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL, GAP, LINE = 128, 8, 14


def contact_sheet(prompts: Sequence[str], seeds: Sequence[int], images: Sequence[Image.Image]) -> Image.Image:
    """The sheet of ``images``, which come prompt by prompt and, within a prompt, seed by seed."""
    assert len(images) == len(prompts) * len(seeds), "one image for every prompt and seed"
    side = _enlarged(images[0].width)
    width = GAP + len(seeds) * (side + GAP)
    titles = [textwrap.wrap(prompt, max(10, width // 7)) or [""] for prompt in prompts]
    height = LINE + 2 * GAP + sum(len(title) * LINE + side + 2 * GAP for title in titles)
    sheet = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for column, seed in enumerate(seeds):
        pen.text((GAP + column * (side + GAP), GAP), f"seed {seed}", "black", font)
    top = LINE + 2 * GAP
    for row, title in enumerate(titles):
        pen.text((GAP, top), "\n".join(title), "black", font)
        top += len(title) * LINE + GAP
        for column in range(len(seeds)):
            shown = images[row * len(seeds) + column].resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(shown, (GAP + column * (side + GAP), top))
        top += side + GAP
    return sheet


def _enlarged(side: int) -> int:
    """``side`` times the smallest whole number that makes a cell large enough to look at."""
    return side * max(1, -(-CELL // side))
