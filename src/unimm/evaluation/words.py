"""What a score is called, and which way is better: words of the built-in scores, and of those that plug-ins add.

Reports read the files of runs and import no metric: one may need torch, or a package that is not installed where the
report is made. The words of the built-in scores are therefore one table here, in the order in which they are shown. A
plug-in metric has its own beside it (`unimm.evaluation.metric.Metric.words`), and a run writes those into its
`result.json`, from where every page takes them. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Better = Literal["higher", "lower"]

LOWER = "lower is better"
OTHER = "Other scores"

_GENEVAL = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
_ATOMS = ("object", "shape", "colour", "count", "relation")
_ABILITIES = ("exists", "count", "colour", "relation")
_FACTORS = ("place", "size", "colour")
_SOURCES = {
    "latents": "latents' noise",
    "decoder": "decoder's noise",
    "seeds": "seeds",
}

_TASKS_GROUP = "GenEval tasks (fraction of images correct)"
_ATOMS_GROUP = "Atoms (fraction of single facts correct)"
_IMAGES_GROUP = "Images (distances: lower is better; density, coverage and agreement with text: higher)"
_COMBINATIONS_GROUP = "New compositions (fraction of images correct; neither counts in overall)"
_DIVERSITY_GROUP = (
    "Diversity of one prompt's images (what varies: its measure; entropy and coverage are 1 for the world itself)"
)
_COPIES_GROUP = "Copies (fraction of images; nearer to training images than to unseen ones: 0.5 by chance)"
_BIAS_GROUP = "Bias diagnostics (no scores: by the CLIP that arms train against, which flatters those that predict it)"
_SAMPLING_GROUP = "Sampling (no score: what was chosen)"
SAMPLED_GUIDANCE = "sampling/guidance"
_DESCRIPTIONS_GROUP = "Descriptions of images (F1 of stated objects; share of stated relations that hold)"
_ANSWERS_GROUP = "Understanding (fraction of answers correct)"
_ABOVE_GROUP = "Understanding above blind (fraction of answers correct, less that without the image)"
# What `judge_cards` call the CLIP that a score is by, by the last part of the score's name: that of `evaluation.clip`,
# and the foundation's evaluators.
OWN_CLIP = "own CLIP"
EVALUATORS = {"a": "evaluator a", "b": "evaluator b"}
_CLIPS = {"own": OWN_CLIP, **EVALUATORS}
_BY_CLIP = ("clip_score", "r_precision")
OWN_CLIP_SCORES = tuple(f"{family}/own" for family in _BY_CLIP)
LESS_BLIND = {"less": "the same questions answered from the mean image"}


def above_blind(name: str) -> str:
    """The name of an understanding score less its blind one; empty for a score that has none."""
    family, _, kind = name.partition("/")
    if family != "understanding" or kind.startswith("above_blind"):
        return ""
    return "understanding/above_blind" + ("" if kind == "overall" else f"/{kind}")


@dataclass(frozen=True)
class Words:
    """A score in words: the group under which tables list it, and its label there.

    ``short`` names it in sentences and headings (default: the label). With a ``headline``, which is what an axis says,
    it stands among the scores that a study shows first. What stands in parentheses after a group is left out where
    there is little room. Raises ValueError for a ``better`` that is neither ``higher`` nor ``lower``.
    """

    group: str
    label: str
    short: str = ""
    better: Better = "higher"
    headline: str | None = None

    def __post_init__(self) -> None:
        if self.better not in get_args(Better):
            raise ValueError(f"{self.label}: better={self.better!r}: say 'higher' or 'lower'")
        object.__setattr__(self, "short", self.short or self.label)

    @property
    def section(self) -> str:
        """The group without what stands in parentheses."""
        return self.group.partition(" (")[0]

    @property
    def axis(self) -> str:
        """What an axis says."""
        return self.headline or self.label

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value is the better one."""
        return self.better == "lower"


def _diversity(source: str, varied: str) -> dict[str, Words]:
    """Scores of the images between which one source of noise differs; headlines are those of the latents' noise."""
    labels = {f"{factor}_entropy": f"{factor} entropy" for factor in _FACTORS}
    labels |= {f"{factor}_coverage": f"{factor} coverage" for factor in _FACTORS}
    named = {view: Words(_DIVERSITY_GROUP, f"{varied}: {label}") for view, label in labels.items()}
    named["vendi"] = Words(_DIVERSITY_GROUP, f"{varied}: Vendi score")
    named["identical"] = Words(_DIVERSITY_GROUP, f"{varied}: all equal", better="lower")
    if source == "latents":
        place, vendi = "place entropy (world = 1)", "Vendi score (effective number of images)"
        named["place_entropy"] = replace(named["place_entropy"], short="place entropy", headline=place)
        named["vendi"] = replace(named["vendi"], short="Vendi score", headline=vendi)
    return {f"diversity/{source}/{view}": words for view, words in named.items()}


def _worded(wording: str, short: str, of: str) -> dict[str, Words]:
    """Scores of the six tasks and their atoms, of prompts in another wording (``short`` names it, ``of`` says it)."""
    tasks = f"GenEval tasks in the wording of {of} (fraction of images correct)"
    facts = f"Atoms in the wording of {of} (fraction of single facts correct)"
    named = {f"geneval_{wording}/{task}": Words(tasks, task.replace("_", " ")) for task in _GENEVAL}
    headline = f"whole prompts right, {short} wording (fraction)"
    named[f"geneval_{wording}/overall"] = Words(
        tasks, "overall", f"GenEval-style score, {short} wording", headline=headline
    )
    named |= {f"atoms_{wording}/{atom}": Words(facts, atom, f"{atom}s right, {short} wording") for atom in _ATOMS}
    right = f"single facts right, {short} wording"
    return named | {f"atoms_{wording}/overall": Words(facts, "overall", right, headline=f"{right} (fraction)")}


# In the order in which rows are shown; scores of one group stand together.
BUILT_IN: dict[str, Words] = {
    **{f"geneval/{task}": Words(_TASKS_GROUP, task.replace("_", " ")) for task in _GENEVAL},
    "geneval/overall": Words(_TASKS_GROUP, "overall", "GenEval-style score", headline="whole prompts right (fraction)"),
    "combinations/held_out": Words(_COMBINATIONS_GROUP, "never seen in training"),
    "combinations/seen": Words(_COMBINATIONS_GROUP, "seen in training"),
    "geneval/held_out": Words(_COMBINATIONS_GROUP, "never seen but in diagonals, which count here"),
    "geneval/seen": Words(_COMBINATIONS_GROUP, "seen in training, diagonals count"),
    **{f"atoms/{atom}": Words(_ATOMS_GROUP, atom, f"{atom}s right") for atom in _ATOMS},
    "atoms/overall": Words(_ATOMS_GROUP, "overall", "single facts right", headline="single facts right (fraction)"),
    **_worded("place", "placed", "prompts that say places"),
    **_worded("long", "long", "long captions"),
    "frechet_distance": Words(
        _IMAGES_GROUP, "Fréchet distance", better="lower", headline="Fréchet distance (lower is better)"
    ),
    "kernel_distance": Words(_IMAGES_GROUP, "kernel distance", better="lower"),
    "fid": Words(_IMAGES_GROUP, "FID", better="lower"),
    "density": Words(_IMAGES_GROUP, "density (real images: 1)"),
    "coverage": Words(_IMAGES_GROUP, "coverage of real images"),
    "clip_score/a": Words(_IMAGES_GROUP, "CLIP score, evaluator a", headline="CLIP score, evaluator a (x 100)"),
    "clip_score/b": Words(_IMAGES_GROUP, "CLIP score, evaluator b"),
    "r_precision/a": Words(_IMAGES_GROUP, "R-precision, evaluator a"),
    "r_precision/b": Words(_IMAGES_GROUP, "R-precision, evaluator b"),
    "clip_score/own": Words(_IMAGES_GROUP, "CLIP score, own evaluator", headline="CLIP score, own evaluator (x 100)"),
    "r_precision/own": Words(_IMAGES_GROUP, "R-precision, own evaluator"),
    "copies/nearer_training": Words(_COPIES_GROUP, "nearest to a training image", better="lower"),
    "copies/identical": Words(_COPIES_GROUP, "equal to another prompt's image", better="lower"),
    **{name: words for source, varied in _SOURCES.items() for name, words in _diversity(source, varied).items()},
    SAMPLED_GUIDANCE: Words(_SAMPLING_GROUP, "guidance that validation prompts chose"),
    "bias/clip_score/target": Words(_BIAS_GROUP, "cosine x 100 by the target CLIP"),
    **{f"understanding/{kind}": Words(_ANSWERS_GROUP, kind) for kind in _ABILITIES},
    "understanding/overall": Words(
        _ANSWERS_GROUP, "overall", "understanding accuracy", headline="questions answered right (fraction)"
    ),
    **{above_blind(f"understanding/{kind}"): Words(_ABOVE_GROUP, kind) for kind in _ABILITIES},
    above_blind("understanding/overall"): Words(
        _ABOVE_GROUP,
        "overall",
        "understanding above blind",
        headline="questions answered right, less those right without the image (fraction)",
    ),
    "descriptions/objects": Words(_DESCRIPTIONS_GROUP, "coloured shapes"),
    "descriptions/places": Words(_DESCRIPTIONS_GROUP, "with their place"),
    "descriptions/relations": Words(_DESCRIPTIONS_GROUP, "relations"),
    "descriptions/exact": Words(_DESCRIPTIONS_GROUP, "every object right"),
}


def judged_family(judge: str) -> dict[str, Words]:
    """Words of the scores by a judge that the score names in brackets (`unimm.evaluation.judge`)."""
    group = f"GenEval tasks by {judge} (fraction of images correct)"
    labels = {task: task.replace("_", " ") for task in _GENEVAL}
    labels |= {"correct_images": "all images alike", "correct_prompts": "prompts with any image right"}
    short, axis = f"GenEval-protocol score by {judge}", f"whole prompts right by {judge} (fraction)"
    overall = {f"geneval[{judge}]/overall": Words(group, "overall", short, headline=axis)}
    return {f"geneval[{judge}]/{name}": Words(group, label) for name, label in labels.items()} | overall


def judge_of(score: str) -> str | None:
    """The judge that a score names in brackets; None for a score of the scenes' judge, or of none."""
    found = re.fullmatch(r"\w+\[(.+)\](?:@[^/]+)?/.+", score)
    return found[1] if found else None


_AT = re.compile(r"(\w+(?:\[.+\])?)@([^/@]+)(/.+)?")


def at(score: str, condition: str) -> str:
    """The name of a score of images that were sampled otherwise: ``geneval@guidance=1/overall``."""
    family = re.match(r"\w+(?:\[.+\])?", score)
    assert family is not None, score
    return f"{family[0]}@{condition}{score[family.end() :]}"


def condition_of(score: str) -> tuple[str, str]:
    """A score's name without the way of sampling that it names, and that way, empty for the run's own."""
    found = _AT.fullmatch(score)
    return (f"{found[1]}{found[3] or ''}", found[2]) if found else (score, "")


def card_of(score: str) -> str | None:
    """The entry of `judge_cards` that says whether a score can be believed; None for a score that needs none."""
    family, _, last = condition_of(score)[0].partition("/")
    return _CLIPS.get(last) if family in _BY_CLIP else judge_of(score)


class Glossary:
    """The words of every score: the built-in ones' and those that runs brought along.

    A plug-in's group may be a built-in one; a score without words keeps its name, under "Other scores". Labels of
    plug-ins' scores of which less is better say so.
    """

    def __init__(self, own: Mapping[str, Words] | None = None) -> None:
        named = {name: _directed(words) for name, words in (own or {}).items() if name not in BUILT_IN}
        groups = list(dict.fromkeys(words.group for words in (*BUILT_IN.values(), *named.values())))
        known = sorted({**BUILT_IN, **named}.items(), key=lambda entry: groups.index(entry[1].group))
        self._known = dict(known)

    def __getitem__(self, name: str) -> Words:
        """The words of a score; there are some for every name. Scores of other ways to sample are no headlines."""
        plain, condition = condition_of(name)
        words = self._known.get(plain, Words(OTHER, plain))
        if not condition:
            return words
        section, paren, rest = words.group.partition(" (")
        group, short = f"{section} at {condition}{paren}{rest}", f"{words.short} at {condition}"
        return replace(words, group=group, short=short, headline=None)

    def ordered(self, names: Collection[str]) -> list[str]:
        """Names as tables list them: by group, then those of other ways to sample, at last those without words."""
        known = list(self._known)

        def place(name: str) -> tuple[bool, str, int]:
            plain, condition = condition_of(name)
            return plain not in self._known, condition, known.index(plain) if plain in self._known else 0

        return sorted(sorted(names), key=place)

    def headlines(self, names: Collection[str]) -> list[str]:
        """Those of the names that a study shows first, in order."""
        return [name for name in self.ordered(names) if self[name].headline]


def _directed(words: Words) -> Words:
    """Words that say where less is better: built-in groups do so in their titles, which a plug-in's need not."""

    def marked(text: str) -> str:
        return text if LOWER in text else f"{text} ({LOWER})"

    if not words.lower_is_better:
        return words
    label = words.label if LOWER in words.group else marked(words.label)
    return replace(words, label=label, headline=words.headline and marked(words.headline))
