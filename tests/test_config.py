"""Composition and validation: precedence, stale keys, and errors that name the file, the key and the fix."""

import re
from pathlib import Path
from typing import Any

import pytest

from unimm.config import ConfigError, dump, load, read
from unimm.schema import COMPONENTS, RunConfig

HERE = Path(__file__).parent
FAKES = {
    "encoder": {
        "clip": "Clip",
        "vae": "Vae",
        "open_clip": "Clip",
        "timm_vision": "Clip",
        "transformers_vision": "Clip",
    },
    "backbone": {"causal_lm": "Vae"},
    "head": {"dit": "Plain"},
    "objective": {"flow_matching": "FlowMatching", "mse": "Mse"},
    "strategy": {"sequential": "Plain", "joint": "Mixed"},
    "source": {"scenes": "Plain"},
}
ARM = """
defaults:
  - base
  - override encoder: clip
  - override objective: flow_matching
  - _self_
name: arm
encoder: {width: 4}
"""


@pytest.fixture(autouse=True)
def fake_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill the real registries with fakes, so that these tests need no torch and no real component."""
    monkeypatch.syspath_prepend(HERE)
    for component, registry in COMPONENTS.items():
        targets: dict[str, Any] = {name: f"fake_components:{cls}" for name, cls in FAKES[component].items()}
        monkeypatch.setattr(registry, "_targets", targets)
        monkeypatch.setattr(registry, "_base", "fake_components:Base")


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    return write(tmp_path, ARM)


def write(folder: Path, text: str) -> Path:
    path = folder / "arm.yaml"
    path.write_text(text)
    return path


def settings(config: RunConfig, component: str) -> dict[str, Any]:
    dumped: dict[str, Any] = config.model_dump()[component]
    return dumped


def test_an_arm_gets_its_profile_and_its_components(arm: Path) -> None:
    config = load(arm)
    assert (config.name, config.profile, config.settings, config.seed) == ("arm", "nano", "controlled", 0)
    assert (config.foundation, config.training.samples, config.training.batch_size) == (
        "scenes-nano",
        64_000,
        32,
    )
    assert settings(config, "encoder") == {"name": "clip", "standardise": True, "width": 4}


def test_overrides_beat_the_file_and_profiles_can_be_switched(arm: Path) -> None:
    config = load(arm, ["profile=tiny", "seed=3", "encoder.width=16", "training.learning_rate=2e-4"])
    assert (config.seed, config.training.samples, config.training.learning_rate) == (3, 64, 2e-4)
    assert settings(config, "encoder")["width"] == 16
    assert settings(config, "objective")["steps"] == 2
    assert load(arm, ["profile=tiny", "objective.steps=7"]).objective.config.model_dump()["steps"] == 7


@pytest.mark.parametrize("override", ["encoder=vae", "encoder.name=vae", "+encoder=vae"])
def test_switching_a_component_drops_the_keys_of_the_old_one(arm: Path, override: str) -> None:
    assert settings(load(arm, [override]), "encoder") == {"name": "vae", "standardise": True}


@pytest.mark.parametrize(
    ("overrides", "name", "question"),
    [
        (["encoder=vae"], "arm-encoder-vae", "How good are images when VAE latents are predicted with flow matching"),
        (
            ["objective=mse", "strategy=joint"],
            "arm-objective-mse-strategy-joint",
            "predicted with mean squared error",
        ),
        (["encoder=fake_components:Plain"], "arm-encoder-Plain", "targets of encoder Plain are predicted"),
    ],
)
def test_an_arm_of_other_parts_has_another_name_and_question(
    arm: Path, overrides: list[str], name: str, question: str
) -> None:
    config = load(arm, overrides)
    assert config.name == name and question in config.question


def test_name_and_question_stay_where_the_parts_do_or_the_user_says_so(arm: Path) -> None:
    assert load(arm, ["encoder=clip", "head=dit", "training.samples=64000"]).name == "arm"
    own = load(arm, ["encoder=vae", "name=mine", "question=Mine?"])
    assert (own.name, own.question) == ("mine", "Mine?")
    assert load(arm, ["encoder=vae", "name=mine"]).question.startswith("How good are images when VAE latents")


def test_naming_the_component_that_the_arm_has_keeps_its_keys(arm: Path) -> None:
    assert settings(load(arm, ["encoder=clip"]), "encoder")["width"] == 4


def test_escape_hatch_works_in_overrides_and_in_files(arm: Path, tmp_path: Path) -> None:
    assert load(arm, ["encoder=fake_components:Vae"]).encoder.name == "fake_components:Vae"
    arm = write(tmp_path, ARM.replace("{width: 4}", '{name: "fake_components:Vae"}'))
    assert settings(load(arm), "encoder") == {"name": "fake_components:Vae", "standardise": True}


def test_published_settings_reach_only_the_components_they_are_for(arm: Path) -> None:
    config = load(arm, ["settings=published"])
    assert settings(config, "encoder")["standardise"] is False
    assert settings(config, "objective")["time_sampling"] == "uniform"
    assert settings(config, "objective")["shift"] == 1.0
    other = load(arm, ["settings=published", "encoder=vae", "objective=mse"])
    assert settings(other, "encoder")["standardise"] is True
    assert settings(other, "objective") == {"name": "mse"}
    declared = load(arm, ["settings=published", "encoder.standardise=true"])
    assert settings(declared, "encoder")["standardise"] is True


@pytest.mark.parametrize("named", ["fake_components:SharperFlow", "sharper"])
def test_defaults_of_a_profile_reach_subclasses(arm: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMPONENTS["objective"]._targets, "sharper", "fake_components:SharperFlow")
    chosen = settings(load(arm, [f"objective={named}"]), "objective")
    assert (chosen["shift_base"], chosen["sharpness"]) == (256, 1.0)
    assert settings(load(arm, [f"objective={named}", "objective.shift_base=9"]), "objective")["shift_base"] == 9
    assert settings(load(arm, [f"objective={named}", "settings=published"]), "objective")["shift"] == 1.0


def test_a_class_has_its_own_defaults_before_those_of_its_ancestors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COMPONENTS["objective"]._targets, "sharper", "fake_components:SharperFlow")
    own = "component_defaults: {objective: {sharper: {shift_base: 64}, flow_matching: {steps: 3, shift_base: 32}}}\n"
    path = write(tmp_path, ARM + own)
    chosen = settings(load(path, ["objective=sharper"]), "objective")
    assert (chosen["shift_base"], chosen["steps"]) == (64, 3)
    assert settings(load(path), "objective")["shift_base"] == 32


def test_a_subclass_without_a_setting_gets_the_defaults_that_it_has(arm: Path) -> None:
    chosen = settings(load(arm, ["objective=fake_components:ShiftlessFlow"]), "objective")
    assert chosen == {"name": "fake_components:ShiftlessFlow", "guidance": 3.0}


CHOICES = [
    ("encoder: {name: clip, width: 4}", "encoder: vae"),
    ("encoder: clip", "encoder: vae"),
    ('encoder: "fake_components:Clip"', "encoder: vae"),
    ("encoder: {name: clip}", "encoder: {name: vae}"),
]


@pytest.mark.parametrize(("parent", "child"), CHOICES)
def test_a_child_chooses_after_its_parent(parent: str, child: str, tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text(f"defaults: [base, _self_]\nname: parent\n{parent}\n")
    path = write(tmp_path, f"defaults: [parent, _self_]\nname: child\n{child}\n")
    assert settings(load(path), "encoder") == {"name": "vae", "standardise": True}


def test_a_child_chooses_after_a_parent_that_overrides(tmp_path: Path) -> None:
    """As the shipped arms do: what their lists say can be said anew, in a list, a body or on the command line."""
    (tmp_path / "parent.yaml").write_text("defaults: [base, {override encoder: clip}, _self_]\nname: parent\n")
    for child in ("defaults: [parent, {override encoder: vae}, _self_]", "defaults: [parent, _self_]\nencoder: vae"):
        assert load(write(tmp_path, f"{child}\nname: child\n")).encoder.name == "vae"
    path = write(tmp_path, "defaults: [parent, _self_]\nname: child\nencoder: {width: 4}\n")
    assert settings(load(path), "encoder")["width"] == 4
    assert load(path, ["encoder=clip", "encoder.width=5"]).encoder.config.model_dump()["width"] == 5


def test_a_parent_in_a_folder_keeps_the_defaults_beside_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "parent.yaml").write_text("# @package _global_\ndefaults: [sibling, _self_]\nencoder: vae\n")
    (tmp_path / "sub" / "sibling.yaml").write_text("# @package _global_\nquestion: Of the sibling?\n")
    config = load(write(tmp_path, "defaults: [base, sub/parent, _self_]\nname: child\n"))
    assert (config.encoder.name, config.question) == ("vae", "Of the sibling?")


def test_a_metric_that_stands_there_twice_is_refused_before_anything_trains(arm: Path) -> None:
    for twice in ("geneval,geneval", "clip_score,{name:clip_score,distractors:4}"):
        with pytest.raises(ConfigError, match=r"evaluation\.metrics: .* stands there twice"):
            load(arm, [f"evaluation.metrics=[{twice}]"])


def test_a_user_folder_can_hold_profiles(arm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "more profiles" / "profile"
    folder.mkdir(parents=True)
    (folder / "huge.yaml").write_text(
        "# @package _global_\nprofile: huge\nfoundation: my-folder\n"
        "training: {samples: 9000, batch_size: 9, learning_rate: 0.1}\n"
    )
    config = load(arm, ["profile=huge"], [folder.parent])
    assert (config.profile, config.training.steps) == ("huge", 1000)


def test_dump_is_read_back_and_is_itself_an_arm(arm: Path, tmp_path: Path) -> None:
    config = load(arm, ["encoder.width=3", "objective.shift=1.5"])
    path = write(tmp_path, dump(config))
    assert read(path) == config
    assert load(path) == config
    assert load(path, ["seed=5"]).seed == 5
    assert load(path, ["encoder=vae"]).encoder.name == "vae"


def test_frozen(arm: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(arm).seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        (["encoder=vea"], ["encoder", "no 'vea'", "did you mean 'vae'?"]),
        (["profile=nanno"], ["profile", "no 'nanno'", "did you mean 'nano'?", "small"]),
        (["settings=publish"], ["settings", "did you mean 'published'?"]),
        (["encoder.widht=3"], ["encoder.widht", "encoder clip reads no 'widht'", "did you mean 'width'?"]),
        (["trainning.samples=3"], ["trainning", "did you mean 'training'?"]),
        (["training.batchsize=3"], ["training.batchsize", "did you mean 'batch_size'?"]),
        (["samples=3"], ["it belongs to training.samples"]),
        (["training.batch_size=-1"], ["training.batch_size", "greater than 0", "given: -1"]),
        (["training.batch_size=many"], ["training.batch_size", "valid integer", "'many'"]),
        (["training.precision=fp16"], ["training.precision", "'bf16'"]),
        (
            ["objective=mse", "objective.guidance=3"],
            ["objective mse reads no 'guidance'", "flow_matching reads"],
        ),
        (
            ["sampling.guidance=3"],
            ["sampling reads no 'guidance'", "objective flow_matching reads objective.guidance"],
        ),
        (["training.samples=16"], ["nothing would train"]),
        (["training.samples=6400"], ["warmup_steps (200) reaches the end of the run (200 steps)"]),
        (["encoder=clip,vae"], ["makes a sweep"]),
        (["encoder"], ["write key=value"]),
        (["~encoder"], ["cannot be deleted"]),
        (["hydra.run.dir=x"], ["not used here"]),
        (["seed=-1", "data.long_caption_share=2"], ["seed", "data.long_caption_share"]),
        (["data.placed_caption_share=0.95"], ["add up to more than 1; lower data.long_caption_share"]),
    ],
)
def test_mistakes_are_explained_in_a_few_lines(arm: Path, overrides: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(arm, overrides)
    message = str(caught.value)
    assert [f for f in [str(arm), *fragments] if f not in message] == [], message
    assert not re.search(r"\+[a-z]", message)
    assert len(message.splitlines()) <= 4


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        (ARM + "name: again\n", "'name' is given twice (first in line 7)"),
        (ARM.replace("{width: 4}", "{width: 4, width: 5}"), "line 8: 'width' is given twice"),
        (ARM.replace("override encoder: clip", "override encoder: klip"), "did you mean 'clip'?"),
        (ARM.replace("- base", "- bass"), "'bass'"),
        (ARM.replace("name: arm", "nmae: arm"), "did you mean 'name'?"),
        ("name: alone\n", "start the defaults list with `base`"),
        ("- just\n- a list\n", "expected `key: value` lines"),
        ("name: [unclosed\n", "not valid YAML"),
        (ARM.replace("{width: 4}", "[4]"), "encoder"),
    ],
)
def test_mistakes_in_files_are_explained(tmp_path: Path, text: str, fragment: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert fragment in str(caught.value)


def test_a_missing_file_names_its_neighbours(arm: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; there: arm\.yaml"):
        load(arm.with_name("amr.yaml"))


@pytest.mark.parametrize("path", sorted((HERE.parent / "ablations").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["nano", "nano-2", "small", "tiny"])
def test_every_arm_composes_under_every_profile(path: Path, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = load(path, [f"profile={profile}"])
    target, objective, *joint = path.stem.split("_")
    assert config.name == path.stem
    assert config.encoder.name == target
    assert config.objective.name == {"fm": "flow_matching", "mse": "mse"}[objective]
    assert config.strategy.name == ("joint" if joint else "sequential")
