"""`unimm sample`: images of a finished run as PNG files, with a contact sheet.

A prompt and a seed always give the same image. The noise is keyed by (prompt, seed) and, unless asked otherwise, images
are drawn one at a time: in a batch, padding and matrix shapes change the rounding, so that a pixel could depend on its
neighbours. The sheet has a row for each prompt and a column for each seed; small images are enlarged without smoothing.
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from unimm.arm import Arm
from unimm.data.captions import cut
from unimm.files import write_atomic
from unimm.noise import NoiseSource
from unimm.pipeline import Pipeline
from unimm.runs.run import Run

NOISE = NoiseSource(0, "drawing")
CELL, GAP, LINE = 128, 8, 14
SHEET = "sheet.png"


class Wanted(NamedTuple):
    """An image that somebody asked for."""

    prompt: str
    seed: int

    @property
    def key(self) -> str:
        """What the noise depends on."""
        return f"{self.seed} {self.prompt}"

    @property
    def file(self) -> str:
        """A file name that depends on prompt and seed alone; the digest tells prompts apart that spell alike."""
        words = re.sub(r"[^a-z0-9]+", "-", self.prompt.lower()).strip("-")[:60].rstrip("-")
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()[:6]
        return f"{words}-{digest}-seed{self.seed}.png".lstrip("-")


def product(prompts: Sequence[str], seeds: Sequence[int]) -> list[Wanted]:
    """Every prompt with every seed, a prompt's seeds together."""
    return [Wanted(prompt, seed) for prompt in prompts for seed in seeds]


def draw(pipeline: Pipeline, wanted: Sequence[Wanted], batch: int = 1) -> UInt8[Tensor, "m 3 s s"]:
    """The images as bytes; with ``batch`` 1 each is the same whatever else is wanted."""
    return pipeline([image.prompt for image in wanted], [image.key for image in wanted], NOISE, batch)


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[str]:
    """Words that the tokenizer can only read as its unknown token, in order; none for byte-level vocabularies."""
    unknown = tokenizer.unk_token_id
    if unknown is None:
        return []
    return [word for word in prompt.split() if unknown in tokenizer(word, add_special_tokens=False)["input_ids"]]


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


class Samples(NamedTuple):
    """What was written, and the words of the prompts that the model does not know."""

    files: list[Path]
    sheet: Path
    unknown: list[str]


def write_samples(run_dir: Path, prompts: Sequence[str], seeds: Sequence[int], out: Path) -> Samples:
    """Draw every prompt with every seed from the run's averaged weights into ``out``.

    Raises:
        ValueError: the run is unfinished or not what was scored, a prompt is empty or no text, or something is
            asked for twice.
    """
    for asked, what in ((prompts, "prompt"), (seeds, "seed")):
        if len(set(asked)) < len(asked):
            raise ValueError(f"a {what} is given twice: the same prompt and seed make the same image")
    check_prompts(prompts)
    arm = Run.finished(run_dir, torch.device("cpu")).model()
    pipeline = pick_pipeline(arm)
    wanted = product(prompts, seeds)
    images = [picture(pixels) for pixels in draw(pipeline, wanted)]
    files = [out / image.file for image in wanted]
    for path, image in zip(files, images, strict=True):
        write_atomic(path, png(image))
    write_atomic(out / SHEET, png(contact_sheet(prompts, seeds, images)))
    unknown = [word for prompt in prompts for word in unknown_words(arm.backbone.tokenizer, prompt)]
    return Samples(files, out / SHEET, list(dict.fromkeys(unknown)))


def check_prompts(prompts: Sequence[str]) -> None:
    """ValueError for a prompt that is empty or no text."""
    if not all(prompt.strip() for prompt in prompts):
        raise ValueError("a prompt is empty: say what to draw")
    for prompt in prompts:
        cut(prompt, len(prompt))


def pick_pipeline(arm: Arm) -> Pipeline:
    """What draws, on the GPU where there is one."""
    return arm.pipeline().to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def picture(pixels: UInt8[Tensor, "3 s s"]) -> Image.Image:
    """Bytes as a PIL image."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def png(image: Image.Image) -> bytes:
    """A PIL image as a PNG file's content."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
