"""A page to look through all images of runs: by task, by verdict, by arm and seed, and two runs under the same noise.

``FOLDER/viewer/index.html`` needs no other file for one run. For a study, or any folder of runs, ``viewer/runs/`` holds
a script a run beside it, loaded when the run is chosen, so that the page opens from a disk as well as from a server.
Images come from the sheets of `unimm.runs.gallery`; older runs have those of `unimm.runs.samples`, fewer and
without what the judge found. Nothing is fetched from elsewhere.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from unimm.files import write_atomic
from unimm.report.rendering import environment, inline
from unimm.runs.gallery import LISTED, FoundObject, KeptImage
from unimm.runs.reading import finished_runs, read_items
from unimm.runs.record import IMAGES, Items, Result, read_record
from unimm.runs.samples import GRID, Sample

HOME = "viewer"
FACTS = "atoms/"


@dataclass(frozen=True)
class ShownRun:
    """One run as the page reads it: `name` is its place in the folder, `data` its sheets and images as JSON."""

    name: str
    result: Result
    data: dict[str, Any]

    @property
    def entry(self) -> dict[str, Any]:
        """What the page's lists say of the run before its images are loaded."""
        shape = self.result.latent_shape
        latents = None if shape is None else f"{shape.tokens} x {shape.channels}"
        return {"name": self.name, "arm": self.result.arm, "seed": self.result.seed, "latents": latents}


def write(folder: Path) -> Path:
    """Write the viewer of the run in ``folder``, or of all finished runs below it, and return its page.

    Raises:
        ValueError: there is no finished run, a run keeps no images, or a file of one cannot be read.
    """
    runs = [ShownRun(name, result, _data(path)) for name, path, result in finished_runs(folder)]
    home = folder / HOME
    for old in (home / "runs").glob("*.js"):
        old.unlink()
    scripts = [Markup(f"unimmRun({number}, {_json(run.data)});") for number, run in enumerate(runs)]
    alone = len(runs) == 1
    if not alone:
        for number, script in enumerate(scripts):
            write_atomic(home / "runs" / f"{number:03d}.js", f"{script}\n")
    text = (
        environment()
        .get_template("viewer.html.j2")
        .render(
            title=f"{runs[0].result.arm}, seed {runs[0].result.seed}" if alone else f"{len(runs)} runs",
            index=Markup(_json([run.entry for run in runs])),
            own=scripts[0] if alone else None,
        )
    )
    page = home / "index.html"
    write_atomic(page, text)
    return page


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever prompts say."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _data(run_dir: Path) -> dict[str, Any]:
    """A run's sheets as data URIs with their sizes, and its images."""
    items = read_items(run_dir)
    kept = _kept(run_dir)
    if not kept:
        raise ValueError(f"{run_dir} keeps no images: score it again with `unimm score {run_dir}`")
    files = list(dict.fromkeys(image["file"] for image in kept))
    sheets = [_sheet(run_dir, file) for file in files]
    images = [
        {**image, "sheet": number, "box": image["box"] or sheets[number]["box"], "facts": _facts(items, image["index"])}
        for image in kept
        for number in [files.index(image["file"])]
    ]
    return {"sheets": sheets, "images": images}


def _kept(run_dir: Path) -> list[Mapping[str, Any]]:
    """All images of a run, or of an older run those of its page."""
    if (run_dir / LISTED).is_file():
        return [_described(image) for image in read_record(run_dir / LISTED, list[KeptImage])]
    older = read_record(run_dir / GRID, list[Sample]) if (run_dir / GRID).is_file() else []
    return [{"key": None, "reason": "", "found": None, **sample.model_dump()} for sample in older]


def _described(image: KeptImage) -> dict[str, Any]:
    return {**image.model_dump(), "found": [_words(found) for found in image.found]}


def _words(found: FoundObject) -> str:
    x1, y1, x2, y2 = (round(edge) for edge in found.box)
    return f"{found.colour} {found.shape}, x {x1} to {x2}, y {y1} to {y2}, fit {found.score:.2f}"


def _facts(items: Items | None, index: int) -> dict[str, float]:
    """An image's single facts, from the exact pixels: each atom's value, where it applies to the prompt."""
    scores: Iterable[tuple[str, list[float | None]]] = () if items is None else items.scores.items()
    return {
        name.removeprefix(FACTS): value
        for name, values in scores
        if items is not None and name.startswith(FACTS) and items.unit(name) == IMAGES and index < len(values)
        if (value := values[index]) is not None
    }


def _sheet(run_dir: Path, file: str) -> dict[str, Any]:
    path = (run_dir / file).resolve()
    if not path.is_relative_to(run_dir.resolve()):
        raise ValueError(f"{run_dir} names {file}, outside its folder: score the run again")
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image: restore it, or score the run again") from error
    return {
        "uri": inline(data, path.suffix.removeprefix(".")),
        "width": width,
        "height": height,
        "box": (0, 0, width, height),
    }
