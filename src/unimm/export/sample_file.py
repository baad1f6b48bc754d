"""`unimm sample --prompts FILE`: K images of every prompt of a file, as `unimm score` and GenEval's scripts read them.

Image k of a prompt draws the noise of (text, k), wherever the prompt stands in the file; a text that comes again goes
on counting, so that no two images of a set are the same draw. In a batch, padding and the shapes of matrices change the
rounding. Batches are therefore cut by position in the file, and one that lacks a file is drawn again as a whole: a
sampling that was stopped at any point goes on, and on one machine ends with the same images to the bit. What was asked
for lies beside them (``sampling.json``), since a folder of images of two runs or two batch sizes is neither's.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from unimm.evaluation.folder import flat_name, read_prompts
from unimm.evaluation.geneval.files import image_file, metadata_file
from unimm.export.sample import NOISE, Wanted, check_prompts, pick_pipeline, picture, png, unknown_words
from unimm.files import read_object, write_atomic, write_json
from unimm.pipeline import BATCH, Pipeline
from unimm.runs.run import Run
from unimm.scenes.prompts import Metadata

ASKED = "sampling.json"
Place = Callable[[int, int], Path]


class SampleSet(NamedTuple):
    """How many images the folder holds now, how many of them were drawn just now, and words that nobody knows."""

    images: int
    drawn: int
    unknown: list[str]


def write_sample_file(
    run_dir: Path, prompts: Path, images_per_prompt: int, layout: str, out: Path, batch: int = BATCH
) -> SampleSet:
    """Draw ``images_per_prompt`` images of every prompt into ``out``; those that are there already stay.

    ``layout`` is ``flat`` (``00012_3.png``) or ``geneval`` (``00012/samples/00003.png``, with the prompt's metadata).

    Raises:
        ValueError: the run is unfinished or not what was scored; the prompts cannot be read, or have no metadata for
            GenEval's folders; ``out`` holds images that were asked for otherwise.
    """
    metadata, texts = read_prompts(prompts)
    check_prompts(texts)
    place = _place(out, layout, metadata, images_per_prompt, prompts)
    run = Run.finished(run_dir, torch.device("cpu"))
    asked = {
        "head": str(run.result.hashes.get("head")),
        "prompts": hashlib.sha256(json.dumps([metadata, texts]).encode()).hexdigest()[:16],
        "images_per_prompt": images_per_prompt,
        "layout": layout,
        "batch": batch,
    }
    _check_same(out, asked)
    arm = run.model()
    pipeline = pick_pipeline(arm)
    write_json(out / ASKED, asked)
    if layout == "geneval":
        for number, entry in enumerate(metadata or ()):
            write_atomic(metadata_file(out, number), json.dumps(entry))
    wanted = list(zip(_wanted(texts, images_per_prompt), _paths(place, len(texts), images_per_prompt), strict=True))
    drawn = _draw_missing(pipeline, wanted, batch)
    unknown = [word for text in texts for word in unknown_words(arm.backbone.tokenizer, text)]
    return SampleSet(len(wanted), drawn, list(dict.fromkeys(unknown)))


def _wanted(texts: Sequence[str], images_per_prompt: int) -> Iterator[Wanted]:
    """Prompt by prompt; the images of a text are numbered through, however often it comes."""
    before: Counter[str] = Counter()
    for text in texts:
        yield from (Wanted(text, before[text] + image) for image in range(images_per_prompt))
        before[text] += images_per_prompt


def _paths(place: Place, prompts: int, images_per_prompt: int) -> Iterator[Path]:
    return (place(prompt, image) for prompt in range(prompts) for image in range(images_per_prompt))


def _place(out: Path, layout: str, metadata: list[Metadata] | None, images_per_prompt: int, prompts: Path) -> Place:
    """Where the image of a prompt lies."""
    if layout == "flat":
        return lambda prompt, image: out / flat_name(prompt, image, images_per_prompt)
    if metadata is None:
        raise ValueError(f"{prompts} has no metadata, which --layout geneval writes: give a .jsonl, or --layout flat")
    return lambda prompt, image: image_file(out, prompt, image)


def _check_same(out: Path, asked: dict[str, Any]) -> None:
    """ValueError where the folder holds images that were asked for otherwise, or images of nobody knows whom."""
    if (out / ASKED).is_file():
        before = read_object(out / ASKED, "give another --out")
        differ = [
            f"{key} was {before.get(key)} and is {value}" for key, value in asked.items() if before.get(key) != value
        ]
        if differ:
            raise ValueError(
                f"{out} holds images that were asked for otherwise ({'; '.join(differ)}): give another --out"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} holds files that no sampling of a prompts file left there: give a new or empty --out")


def _draw_missing(pipeline: Pipeline, wanted: Sequence[tuple[Wanted, Path]], batch: int) -> int:
    """Draw every batch of which a file is missing; how many images these were."""
    parts = [wanted[begin : begin + batch] for begin in range(0, len(wanted), batch)]
    missing = [part for part in parts if not all(path.is_file() for _, path in part)]
    drawn = sum(map(len, missing))
    with tqdm(total=len(wanted), initial=len(wanted) - drawn, desc="sampling", unit="image") as bar:
        for part in missing:
            keys = [image.key for image, _ in part]
            latents = pipeline.latents([image.prompt for image, _ in part], keys, NOISE)
            for pixels, (_, path) in zip(pipeline.decoded(latents, keys, NOISE), part, strict=True):
                write_atomic(path, png(picture(pixels)))
            bar.update(len(part))
    return drawn
