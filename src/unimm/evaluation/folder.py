"""Score a folder of images that unimm did not make: ``unimm score IMAGES --prompts FILE``.

Images (JPEG, PNG, WebP) lie flat (``00012.png`` is the image of prompt 12, ``00012_3.png`` its image 3 where there are
several) or in GenEval's official folders (``00012/samples/00003.png``, PNG only). Prompts are GenEval's metadata
(``.jsonl``) or one text a line (``.txt``), which judges cannot use but CLIP scores can. Every prompt must have all its
images.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from unimm.data.scenes import SceneSet
from unimm.evaluation.detectors.scenes import Scenes
from unimm.evaluation.geneval.files import load_images, read_image_folder, read_metadata
from unimm.evaluation.images import pictures_in
from unimm.evaluation.judge import Judge
from unimm.evaluation.metric import Evidence, Metric, Score
from unimm.evaluation.suite import build_metrics, score_each
from unimm.files import read_text
from unimm.foundation.folder import Foundation
from unimm.progress import progress, say
from unimm.scenes.prompts import Metadata
from unimm.scenes.world import World
from unimm.schema import DEFAULT_METRICS

REFERENCE_SCENES = 1000
ENOUGH_FOR_DIVERSITY = 8
SHOWN = 10
# What would stretch other images to a square, or knows square scenes only; detectors of photographs take any.
SQUARE = frozenset({"geneval", "distance", "clip_score", "diversity"})


def score_folder(
    images: Path,
    prompts: Path,
    metrics: Sequence[str] | None,
    foundation: Foundation,
    images_per_prompt: int,
    reference: Path | None,
    detectors: Sequence[Judge] = (),
    results: Path | None = None,
) -> list[Score]:
    """Scores of the images by the named metrics and by each detector; without either, by a run's metrics that apply.

    A metric that refuses these images or prompts loses no other one's scores: its row has no value and says why.
    ``results`` is a file for the one detector's decisions image by image, as GenEval's own evaluator writes them.

    Raises ValueError when images are missing, nothing could be scored, or ``results`` are asked of no detector or of
    several.
    """
    if results is not None and len(detectors) != 1:
        raise ValueError(
            f"GenEval's results file holds what one detector decided, not {len(detectors)}: give --detector once, such "
            f"as --detector 'scenes world={foundation.world.name}'"
        )
    judges: list[tuple[str, Metric]] = [
        (f"detector {detector.name}", detector.as_metric(results)) for detector in detectors
    ]
    names = metrics if metrics is not None else () if judges else DEFAULT_METRICS
    chosen = [*zip(names, build_metrics(names, foundation), strict=True), *judges]
    evidence = read_evidence(images, prompts, images_per_prompt)
    if any("reference" in metric.needs for _, metric in chosen):
        assert evidence.images is not None
        evidence = replace(evidence, reference=read_reference(foundation, reference, evidence.images.shape[-1]))
    if metrics is None and not judges:
        chosen = [(name, metric) for name, metric in chosen if metric.needs <= evidence.given]
    square = SQUARE | {f"detector {detector.name}" for detector in detectors if isinstance(detector, Scenes)}

    def scores(name: str, metric: Metric) -> list[Score]:
        if name in square:
            _check_square(evidence, images)
        lacking = sorted(metric.needs - evidence.given)
        if lacking:
            raise ValueError(
                f"{name!r} needs {', '.join(lacking)}, which a folder with these prompts does not give; leave it out"
            )
        return metric.score(evidence)

    return score_each([(name, partial(scores, name, metric)) for name, metric in chosen])


def flat_name(prompt: int, image: int, images_per_prompt: int) -> str:
    """The name of an image in a flat folder."""
    return f"{prompt:05d}.png" if images_per_prompt == 1 else f"{prompt:05d}_{image}.png"


def read_evidence(folder: Path, prompts: Path, images_per_prompt: int) -> Evidence:
    """Images with their prompts, complete and of one size; ValueError lists what is missing."""
    metadata, captions = read_prompts(prompts)
    files = _files(folder, metadata, len(captions), images_per_prompt)
    shown = _load(files, folder)
    expanded = [caption for caption in captions for _ in range(images_per_prompt)]
    several = metadata is not None and images_per_prompt >= ENOUGH_FOR_DIVERSITY
    return Evidence(
        images=shown,
        prompts=None if metadata is None else [m for m in metadata for _ in range(images_per_prompt)],
        captions=expanded,
        varied={"seeds": shown.unflatten(0, (len(captions), images_per_prompt))} if several else None,
        varied_prompts=metadata if several else None,
        files=[str(path) for path in files],
    )


def read_prompts(path: Path) -> tuple[list[Metadata] | None, list[str]]:
    """GenEval metadata, None of plain texts, and the text of every prompt; ValueError names the line that is wrong."""
    if not path.is_file():
        raise ValueError(f"{path}: no such prompts file; give GenEval metadata (.jsonl) or one prompt a line (.txt)")
    if path.suffix != ".txt":
        metadata = read_metadata(path)
        return metadata, [str(entry["prompt"]) for entry in metadata]
    captions = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    if not captions:
        raise ValueError(f"{path}: no prompts; write one on every line")
    return None, captions


def _files(folder: Path, metadata: list[Metadata] | None, prompts: int, per_prompt: int) -> list[Path]:
    """The file of every image, prompt by prompt."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of images")
    if metadata is not None and any(path.is_dir() and path.name.isdigit() for path in folder.iterdir()):
        return [path for entry in read_image_folder(folder, metadata, per_prompt) for path in entry.paths]
    found: dict[tuple[int, int], Path] = {}
    for path in pictures_in(folder):
        match = re.fullmatch(r"(\d+)(?:_(\d+))?", path.stem)
        if match is None:
            raise ValueError(f"{path}: name images by prompt number, as in 00012.png or 00012_3.png")
        key = int(match[1]), int(match[2] or 0)
        if key in found:
            raise ValueError(f"{found[key]} and {path} are the same image of prompt {key[0]}; remove one of them")
        found[key] = path
    expected = [(prompt, image) for prompt in range(prompts) for image in range(per_prompt)]
    absent = [key for key in expected if key not in found]
    missing = [flat_name(prompt, image, per_prompt) for prompt, image in absent]
    surplus = sorted(found.keys() - set(expected))
    if missing:
        listed = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise ValueError(f"{folder} lacks {len(missing)} of {len(expected)} images: {listed}")
    if surplus:
        raise ValueError(f"{found[surplus[0]]} belongs to no prompt: check --prompts and --images-per-prompt")
    return [found[key] for key in expected]


def _load(files: Sequence[Path], folder: Path) -> UInt8[Tensor, "m 3 h w"]:
    images = [load_images([file])[0] for file in progress(files, "reading", "image")]
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        raise ValueError(f"{folder} holds images of several sizes ({sorted(sizes)[:3]}); make them equal first")
    together = torch.stack(images)
    # Images that are black throughout are a model's failure, which scores count as wrong.
    if together.max() == 1:
        raise ValueError(f"{folder}: no pixel is above 1 of 255; scale values in [0, 1] to 255 before saving them")
    return together


def _check_square(evidence: Evidence, folder: Path) -> None:
    assert evidence.images is not None
    height, width = evidence.images.shape[-2:]
    if height != width:
        raise ValueError(f"{folder}: images are {width} x {height}; make them square first")


def read_reference(foundation: Foundation, folder: Path | None, side: int) -> UInt8[Tensor, "r 3 h w"]:
    """The real images of a folder and of those below it, or test scenes of the foundation's world as large as the
    images that are scored; says how many of which kind a folder has.

    Raises ValueError for fewer than two, and for a picture of a kind that is not read.
    """
    if folder is None:
        return _test_scenes(foundation.world, side)
    files = pictures_in(folder, below=True)
    if len(files) < 2:
        raise ValueError(f"{folder} holds {len(files)} JPEG, PNG or WebP files: a reference needs many images")
    kinds = Counter(path.suffix[1:].lower() for path in files)
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    say(f"reference: {len(files)} pictures of {folder} ({counted})")
    return _load(files, folder)


@lru_cache(maxsize=2)
def _test_scenes(world: World, resolution: int) -> UInt8[Tensor, "r 3 h w"]:
    return SceneSet(world, "test", REFERENCE_SCENES, resolution).pixels
