"""Captions that overlap with GenEval: its own prompts, or its templates, which teach the form of the test.

BLIP3-o's 60k instruction images contain captions such as "a photo of a soap bar": no prompt of GenEval, but its
sentence. Scores after training on such data measure that too, so an audit says how much of it there is.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from unimm.curation.duplicates import words_of
from unimm.evaluation.geneval_prompts import OBJECT_NAMES, generate_prompts
from unimm.scenes.prompts import NUMBERS, plural
from unimm.scenes.world import COLOURS, RELATIONS

LEVELS = {
    "prompt": "is a GenEval prompt",
    "contains": "contains a GenEval prompt",
    "classes": "GenEval's template and classes",
    "template": "GenEval's template, other things",
}


class Overlap(NamedTuple):
    """How a caption overlaps (a key of `LEVELS`, the strongest that holds) and with which task."""

    level: str
    task: str


def overlap(caption: str) -> Overlap | None:
    """How a caption overlaps with GenEval; case and punctuation do not count."""
    words = words_of(caption)
    prompts = _prompts()
    text = " ".join(words)
    if text in prompts:
        return Overlap("prompt", prompts[text])
    for length in _lengths():
        for begin in range(len(words) - length + 1):
            part = " ".join(words[begin : begin + length])
            if part in prompts:
                return Overlap("contains", prompts[part])
    for level, noun in (("classes", _classes()), ("template", r"\w+(?: \w+){0,2}")):
        for task, pattern in _templates(noun).items():
            if pattern.fullmatch(text):
                return Overlap(level, task)
    return None


@cache
def _prompts() -> dict[str, str]:
    return {" ".join(words_of(str(sample["prompt"]))): str(sample["tag"]) for sample in generate_prompts()}


@cache
def _lengths() -> list[int]:
    return sorted({len(prompt.split()) for prompt in _prompts()}, reverse=True)


@cache
def _classes() -> str:
    names = {form for name in OBJECT_NAMES for form in (name, plural(name))}
    return f"(?:{'|'.join(sorted(names, key=len, reverse=True))})"


@cache
def _templates(noun: str) -> dict[str, re.Pattern[str]]:
    """A pattern for each of the six tasks, the more special ones first; ``noun`` is the pattern of a thing."""
    start, one = "an? (?:photo|picture|image) of", f"an? {noun}"
    colour, relation = f"(?:{'|'.join(COLOURS)})", f"(?:{'|'.join(RELATIONS)})"
    coloured = f"an? {colour} {noun}"
    forms = {
        "color_attr": f"{start} {coloured} and {coloured}",
        "position": f"{start} {one} {relation} {one}",
        "colors": f"{start} {coloured}",
        "counting": f"{start} (?:{'|'.join(NUMBERS.values())}) {noun}",
        "two_object": f"{start} {one} and {one}",
        "single_object": f"{start} {one}",
    }
    return {task: re.compile(form) for task, form in forms.items()}
