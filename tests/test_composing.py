"""What is kept of a composition is what Hydra makes of the same files and overrides now, and nobody shares it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from unimm import composing
from unimm.composing import composed
from unimm.config import PACKAGED, ConfigError, load
from unimm.schema import COMPONENTS
from unimm.strict_yaml import read_yaml

ARMS = Path(__file__).parents[1] / "ablations"
ARM = "defaults: [base, override encoder: vae, override objective: flow_matching, _self_]\nname: arm\n"
PROFILE = "# @package _global_\nprofile: {name}\nfoundation: scenes-nano\n"
BATCH = "training: {{samples: 6400, batch_size: {size}, learning_rate: 1e-3, warmup_steps: 2}}\n"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Nothing is kept at first; the overrides of every composition that Hydra is asked for, without its search path."""
    monkeypatch.setattr(composing, "_kept", {})
    calls: list[tuple[str, ...]] = []
    hydra = composing.compose

    def counted(name: str, overrides: list[str]) -> Any:
        calls.append(tuple(overrides[:-1]))
        return hydra(name, overrides=overrides)

    monkeypatch.setattr(composing, "compose", counted)
    return calls


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def profile(folder: Path, name: str, size: int) -> Path:
    return write(folder, f"profile/{name}", PROFILE.format(name=name) + BATCH.format(size=size))


def by_hydra(arm: dict[str, Any], overrides: list[str], folders: list[Path]) -> dict[str, Any]:
    return composing._plain(composing._by_hydra(arm, overrides, folders))


VALUES = [
    [],
    ["profile=tiny"],
    ["settings=published", "profile=small", "++seed=3"],
    ['++encoder.name="vae"', "++encoder.width=4"],
    ["++training.samples=5", "++training={samples: 3, extra: [1, {a: b}]}", "++training.samples=7"],
    ["++training={samples: 3}", "++training.samples=5"],
    ["++question='${name} of ${profile}'", "++new.deep.key=null"],
    ["++evaluation.metrics=[geneval,{name: clip_score, distractors: 4}]", '++name="it\'s"'],
    ["++evaluation={prompts: ${training.batch_size}}"],
]


def test_values_put_into_what_is_kept_are_what_hydra_makes_of_them(asked: list[tuple[str, ...]]) -> None:
    path, folders = ARMS / "clip_fm.yaml", [ARMS, PACKAGED]
    arm, first = read_yaml(path), {}
    for overrides in VALUES:
        choices = tuple(text for text in overrides if not text.startswith("++"))
        first.setdefault(choices, composed(path, arm, list(choices), folders))
        asked.clear()
        kept = composed(path, arm, overrides, folders)
        assert asked == [], overrides
        assert repr(kept) == repr(by_hydra(arm, overrides, folders))
    assert all(composed(path, arm, list(choices), folders) == content for choices, content in first.items())


@pytest.mark.parametrize(
    "overrides",
    [
        ["profile=nanno"],
        ["profile=tiny", "++training.samples.more=3"],
        ["++question=${nothing}"],
        ["++question=???"],
        ["++training@x=3"],
        ["++profile=tiny"],
        ["++profile={a: 1}"],
        ["+seed=3"],
        ["sed=3"],
    ],
)
def test_what_fails_says_what_hydra_says_of_all_overrides_at_once(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arm, folders = read_yaml(ARMS / "vae_fm.yaml"), [ARMS, PACKAGED]

    def outcome() -> str:
        try:
            return repr(composed(ARMS / "vae_fm.yaml", arm, overrides, folders))
        except ConfigError as error:
            return f"refused: {error}"

    found = outcome()
    monkeypatch.setattr(composing, "_from_kept", composing._by_hydra)
    assert found == outcome()


def test_hydra_is_asked_once_for_arms_of_the_same_content(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    first, second = write(tmp_path / "one", "arm", ARM), write(tmp_path / "two", "other", ARM)
    seeds = [load(path, ["profile=tiny", f"seed={seed}"]).seed for seed in (1, 2) for path in (first, second)]
    assert seeds == [1, 1, 2, 2] and asked == [("profile=tiny",)]
    assert load(second, ["profile=small"]).profile == "small" and len(asked) == 2


def test_a_file_that_changes_is_read_again_whatever_its_date_and_size(tmp_path: Path) -> None:
    path, chosen = write(tmp_path, "arm", ARM), profile(tmp_path, "mine", 10)
    before = chosen.stat()
    assert load(path, ["profile=mine"]).training.batch_size == 10
    profile(tmp_path, "mine", 20)
    os.utime(chosen, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert chosen.stat().st_size == before.st_size
    assert load(path, ["profile=mine"]).training.batch_size == 20
    write(tmp_path, "arm", ARM + "training: {batch_size: 40}\n")
    assert load(path, ["profile=mine"]).training.batch_size == 40
    chosen.unlink()
    with pytest.raises(ConfigError, match="profile: no 'mine'"):
        load(path, ["profile=mine"])


def test_the_file_of_a_parents_parent_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, "sub/far", "# @package _global_\nquestion: First?\n")
    write(tmp_path, "sub/near", "# @package _global_\ndefaults: [far, _self_]\n")
    path = write(tmp_path, "arm", ARM.replace("base,", "base, sub/near,"))
    assert load(path, ["profile=tiny"]).question == "First?"
    write(tmp_path, "sub/far", "# @package _global_\nquestion: Second?\n")
    assert load(path, ["profile=tiny"]).question == "Second?"


def test_a_file_that_appears_where_hydra_looks_first_is_taken(tmp_path: Path) -> None:
    path, more = write(tmp_path / "arms", "arm", ARM), tmp_path / "more"
    profile(more, "mine", 10)
    assert load(path, ["profile=mine"], [more]).training.batch_size == 10
    nearer = profile(tmp_path / "arms", "mine", 20)
    assert load(path, ["profile=mine"], [more]).training.batch_size == 20
    nearer.unlink()
    assert load(path, ["profile=mine"], [more]).training.batch_size == 10


def test_a_folder_that_makes_a_group_of_a_setting_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, "arm", ARM)
    assert load(path, ["profile=tiny", "seed=3"]).seed == 3
    (tmp_path / "seed").mkdir()
    with pytest.raises(ConfigError, match="groups is not supported"):
        load(path, ["profile=tiny", "seed=3"])


def test_a_component_that_is_registered_after_a_load_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "arm", ARM.replace("encoder: vae", "encoder: later"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="encoder: no 'later'"):
            load(path, ["profile=tiny"])
    encoders = COMPONENTS["encoder"]
    monkeypatch.setitem(encoders._targets, "later", encoders._targets["vae"])
    assert load(path, ["profile=tiny"]).encoder.name == "later"
    assert load(ARMS / "vae_fm.yaml", ["profile=tiny", "encoder=later"]).encoder.name == "later"


def test_nothing_that_a_caller_changes_reaches_the_next_one(tmp_path: Path) -> None:
    path = write(tmp_path, "arm", ARM + "evaluation: {metrics: [{name: clip_score, distractors: 4}]}\n")
    arm, folders = read_yaml(path), [tmp_path, PACKAGED]
    first = composed(path, arm, ["profile=tiny"], folders)
    untouched = repr(first)
    for content in (first, arm):
        content["evaluation"]["metrics"][0]["name"] = "other"
        content["evaluation"]["metrics"].append("more")
        content["defaults"] = []
    composed(path, read_yaml(path), ["profile=tiny", "++evaluation.metrics=[geneval]", "++training.more=1"], folders)
    assert repr(composed(path, read_yaml(path), ["profile=tiny"], folders)) == untouched


def test_variables_are_looked_up_at_every_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "arm", ARM + "question: ${oc.env:ASKED}\n")
    for text in ("First?", "Second?"):
        monkeypatch.setenv("ASKED", text)
        assert load(path, ["profile=tiny"]).question == text


def test_a_defaults_list_that_is_put_together_is_left_to_hydra(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    write(tmp_path, "words/tiny", "# @package _global_\nquestion: Of tiny?\n")
    path = write(tmp_path, "arm", ARM.replace("base,", "base, 'words/${profile}',"))
    for _ in range(2):
        assert load(path, ["profile=tiny", "seed=3"]).question == "Of tiny?"
    assert asked == [("profile=tiny", "++seed=3")] * 2
