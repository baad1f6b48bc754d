"""`unimm sample`: images of a finished run as PNG files, with a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from unimm.files import write_atomic
from unimm.leaving.drawing import draw, product, unknown_words
from unimm.leaving.finished import open_run, trained_arm
from unimm.leaving.sheet import contact_sheet

SHEET = "sheet.png"


class Samples(NamedTuple):
    """What was written, and the words of the prompts that the model does not know."""

    files: list[Path]
    sheet: Path
    unknown: list[str]


def write_samples(run_dir: Path, prompts: Sequence[str], seeds: Sequence[int], out: Path) -> Samples:
    """Draw every prompt with every seed from the run's averaged weights into ``out``.

    Raises:
        ValueError: the run is unfinished or not what was scored, a prompt is empty, or something is asked for twice.
    """
    for asked, what in ((prompts, "prompt"), (seeds, "seed")):
        if len(set(asked)) < len(asked):
            raise ValueError(f"a {what} is given twice: the same prompt and seed make the same image")
    if not all(prompt.strip() for prompt in prompts):
        raise ValueError("a prompt is empty: say what to draw")
    arm = trained_arm(open_run(run_dir))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline = arm.pipeline().to(device)
    wanted = product(prompts, seeds)
    images = [picture(pixels) for pixels in draw(pipeline, wanted)]
    files = [out / image.file for image in wanted]
    for path, image in zip(files, images, strict=True):
        write_atomic(path, png(image))
    write_atomic(out / SHEET, png(contact_sheet(prompts, seeds, images)))
    unknown = [word for prompt in prompts for word in unknown_words(arm.backbone.tokenizer, prompt)]
    return Samples(files, out / SHEET, list(dict.fromkeys(unknown)))


def picture(pixels: UInt8[Tensor, "3 s s"]) -> Image.Image:
    """Bytes as a PIL image."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def png(image: Image.Image) -> bytes:
    """A PIL image as a PNG file's content."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
