"""Pictures whose content is known, and facts about them that hold or do not: what a judge is tried on.

A labels file has a line of JSON a picture. Its objects, all of those classes that the file names at all:

    {"file": "a.jpg", "objects": [{"class": "dog", "color": "brown", "box": [10, 20, 60, 90]}, {"class": "cat"}]}

or what people decided of a whole prompt, GenEval's metadata with ``correct``:

    {"file": "a.jpg", "correct": true, "tag": "colors", "include": [{"class": "dog", "count": 1, "color": "brown"}],
     "prompt": "a photo of a brown dog"}

Every fact is stated as the metadata of a prompt, so that a judge is tried on what it does when it scores. To each fact
that holds there is one that does not: a class that the picture lacks, one object more or less, another colour of the
file's, the opposite relation. Relations are taken from boxes (x1, y1, x2, y2, with y pointing down), clear ones only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor
from torch.nn import functional as F

from unimm.analysis.judging import WHOLE
from unimm.data.tar_index import leaves_folder
from unimm.evaluation.geneval.files import Colour, PromptMetadata, load_images, wrong_fields
from unimm.files import read_text
from unimm.progress import progress
from unimm.scenes.combinations import clear_position
from unimm.scenes.prompts import NUMBERS, Metadata, article, plural
from unimm.scenes.render import render
from unimm.scenes.stream import scene_sample
from unimm.scenes.world import Scene, World

OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
SCENES = 120


class Fact(NamedTuple):
    """A fact about a picture, stated as a prompt's metadata; whether it holds, and of which kind it is."""

    kind: str
    prompt: Metadata
    picture: int
    true: bool


@dataclass(frozen=True)
class Labelled:
    """Pictures, which may differ in size, with facts about them; ``source`` says where they are from."""

    source: str
    pictures: list[UInt8[Tensor, "3 h w"]]
    facts: list[Fact]

    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of every fact that holds and of the one made from it that does not, where there is one.

        Raises:
            ValueError: there is none, as where people decided of whole prompts.
        """
        found = [
            (number, number + 1)
            for number, (one, other) in enumerate(pairwise(self.facts))
            if (one.picture, one.kind) == (other.picture, other.kind) and one.true and not other.true
        ]
        if not found:
            raise ValueError(f"{self.source} state no captions that differ in one fact: label the pictures' objects")
        return found


class Thing(BaseModel):
    """An object on a picture."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(alias="class", min_length=1)
    color: Colour | None = None
    box: tuple[float, float, float, float] | None = None

    @field_validator("box")
    @classmethod
    def _has_corners(cls, box: tuple[float, float, float, float] | None) -> tuple[float, float, float, float] | None:
        """A corner and a size, as COCO writes boxes, mostly look like corners in the wrong order."""
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"{list(box)} has no area: give corners [x1, y1, x2, y2], not a width and a height")
        return box


class _Line(BaseModel):
    model_config = ConfigDict(extra="allow")

    file: str = Field(min_length=1)
    objects: list[Thing] | None = None
    correct: bool | None = None


def kinds_of(prompts: Sequence[Metadata]) -> list[str]:
    """The kinds of facts that prompts ask about."""
    clauses = [clause for prompt in prompts for clause in prompt["include"]]
    asked = {
        "object": True,
        "count": any(clause["count"] > 1 for clause in clauses) or any(prompt.get("exclude") for prompt in prompts),
        "colour": any("color" in clause for clause in clauses),
        "relation": any("position" in clause for clause in clauses),
    }
    return [kind for kind, there in asked.items() if there]


def read_labels(folder: Path, labels: Path, side: int | None = None) -> Labelled:
    """The labelled pictures of a folder; larger ones are shrunk to a short side of ``side`` pixels.

    Raises:
        ValueError: there is no such file; a line is none of the two kinds, names no picture in the folder, or one whose
            objects another line has; or no false fact can be stated.
    """
    if not labels.is_file():
        raise ValueError(f"{labels}: no such file of labels; write one line of JSON for every picture")
    lines = [
        _parsed(text, f"{labels}, line {n}") for n, text in enumerate(read_text(labels).split("\n"), 1) if text.strip()
    ]
    if not lines:
        raise ValueError(f"{labels}: no labels; write one line of JSON for every picture")
    listed = [line.file for line in lines if line.objects is not None]
    if twice := next((name for name, count in Counter(listed).items() if count > 1), None):
        raise ValueError(f"{labels}: two lines list the objects of {twice!r}: write all of them in one")
    pictures = [_shrunk(_picture(folder, line.file, labels), side) for line in progress(lines, "reading", "image")]
    known = [(number, line.objects) for number, line in enumerate(lines) if line.objects is not None]
    facts = [*facts_of(known), *(fact for number, line in enumerate(lines) for fact in _decided(number, line, labels))]
    if not any(fact.true for fact in facts) or all(fact.true for fact in facts):
        raise ValueError(f"{labels}: pictures of one class and colour say nothing of false finds: add others")
    stamp = hashlib.sha256(labels.read_bytes()).hexdigest()[:16]
    return Labelled(f"{len(lines)} pictures by {labels.name}, sha256 {stamp}", pictures, facts)


def labelled_scenes(world: World, side: int, count: int = SCENES) -> Labelled:
    """Test scenes of the embedded world, ``side`` pixels a side, with facts about their shapes."""
    scenes = [scene_sample(world, "test", 11, number).scene for number in range(count)]
    pictures = [torch.from_numpy(render(scene, side)).permute(2, 0, 1).contiguous() for scene in scenes]
    facts = facts_of([(number, _things(scene)) for number, scene in enumerate(scenes)])
    return Labelled(f"{count} test scenes of {world.name} at {side} pixels", pictures, facts)


def _things(scene: Scene) -> list[Thing]:
    return [Thing.model_validate({"class": i.shape, "color": i.colour, "box": i.box}) for i in scene.items]


def facts_of(pictures: Sequence[tuple[int, Sequence[Thing]]]) -> list[Fact]:
    """Facts that hold of the objects on pictures (number, objects), and to each one that does not."""
    everything = [thing for _, things in pictures for thing in things]
    classes = sorted({thing.name for thing in everything})
    colours = sorted({thing.color for thing in everything if thing.color})
    facts = []
    for number, things in pictures:
        there = Counter(thing.name for thing in things)
        stated = [
            *_objects(there, classes, number),
            *_counts(there, number),
            *_colours(things, colours, number),
            *_relations(things),
        ]
        facts += [Fact(kind, prompt, number, true) for kind, prompt, true in stated]
    return facts


Stated = Iterator[tuple[str, Metadata, bool]]


def _objects(there: Counter[str], classes: Sequence[str], turn: int) -> Stated:
    absent = [name for name in classes if name not in there]
    for place, name in enumerate(sorted(there)):
        yield "object", _one("single_object", name), True
        if place < len(absent):
            yield "object", _one("single_object", absent[(turn + place) % len(absent)]), False


def _counts(there: Counter[str], turn: int) -> Stated:
    for name, count in sorted(there.items()):
        wrong = count - 1 if turn % 2 and count > 1 else count + 1
        yield "count", _counted(name, count), True
        yield "count", _counted(name, wrong), False


def _colours(things: Sequence[Thing], colours: Sequence[str], turn: int) -> Stated:
    alone = Counter(thing.name for thing in things)  # of several, GenEval looks at the surest
    for thing in things:
        others = [colour for colour in colours if colour != thing.color]
        if thing.color and others and alone[thing.name] == 1:
            yield "colour", _one("colors", thing.name, thing.color), True
            yield "colour", _one("colors", thing.name, others[turn % len(others)]), False


def _relations(things: Sequence[Thing]) -> Stated:
    alone = Counter(thing.name for thing in things)
    placed = [thing for thing in things if thing.box is not None and alone[thing.name] == 1]
    for a, b in pairwise(placed):
        assert a.box is not None and b.box is not None
        for relation in sorted(clear_position(list(a.box), list(b.box)))[:1]:
            yield "relation", _placed(a.name, relation, b.name), True
            yield "relation", _placed(a.name, OPPOSITE[relation], b.name), False


def _one(tag: str, name: str, colour: str | None = None) -> Metadata:
    clause = {"class": name, "count": 1, **({"color": colour} if colour else {})}
    words = f"{colour} {name}" if colour else name
    return {"tag": tag, "include": [clause], "prompt": f"a photo of {article(words)}"}


def _counted(name: str, count: int) -> Metadata:
    words = article(name) if count == 1 else f"{NUMBERS.get(count, count)} {plural(name)}"
    include, exclude = ([{"class": name, "count": number}] for number in (count, count + 1))
    return {"tag": "counting", "include": include, "exclude": exclude, "prompt": f"a photo of {words}"}


def _placed(subject: str, relation: str, other: str) -> Metadata:
    include = [{"class": other, "count": 1}, {"class": subject, "count": 1, "position": [relation, 0]}]
    return {
        "tag": "position",
        "include": include,
        "prompt": f"a photo of {article(subject)} {relation} {article(other)}",
    }


def _parsed(text: str, place: str) -> _Line:
    try:
        line = _Line.model_validate_json(text)
        if line.objects is None:
            PromptMetadata.model_validate_json(text)
    except ValidationError as error:
        wrong = wrong_fields(error, ("class", "color", "box"))
        raise ValueError(f"{place}: {wrong}; give file and objects, or file, correct and GenEval's metadata") from error
    if (line.objects is None) == (line.correct is None):
        raise ValueError(f"{place}: give either objects, or correct with GenEval's metadata")
    return line


def _decided(number: int, line: _Line, labels: Path) -> Iterator[Fact]:
    if line.correct is not None:
        yield Fact(WHOLE, dict(line.model_extra or {}), number, line.correct)


def _picture(folder: Path, name: str, labels: Path) -> UInt8[Tensor, "3 h w"]:
    if leaves_folder(name) or not (folder / name).is_file():
        raise ValueError(f"{labels}: no picture {name!r} in {folder}; give paths below that folder")
    return load_images([folder / name])[0]


def _shrunk(image: UInt8[Tensor, "3 h w"], side: int | None) -> UInt8[Tensor, "3 a b"]:
    height, width = image.shape[1:]
    if side is None or min(height, width) <= side:
        return image
    size = [max(side, round(length * side / min(height, width))) for length in (height, width)]
    smaller = F.interpolate(image[None].float(), size=size, mode="bicubic", antialias=True)
    return smaller[0].round().clamp(0, 255).byte()
