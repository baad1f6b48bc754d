"""What TAB offers, asked as shells ask Typer: bash with words cut at `=`, zsh with whole ones; and from a real bash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unimm.cli import app
from unimm.registry import objectives

ROOT = Path(__file__).parents[1]
ARM = "ablations/vae_fm.yaml"


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def bash(*words: str) -> list[str]:
    """Candidates for the last word, as bash has cut the line."""
    asked = {"_UNIMM_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return CliRunner().invoke(app, [], prog_name="unimm", env=asked).stdout.split()


def zsh(line: str) -> list[str]:
    """Candidates for the end of a line."""
    asked = {"_UNIMM_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    shown = CliRunner().invoke(app, [], prog_name="unimm", env=asked).stdout
    return [word.replace(r"\\:", ":") for word in re.findall(r'^(?:.*\(\()?"(.*?)"', shown, flags=re.MULTILINE)]


def test_verbs_are_completed() -> None:
    assert set(bash("unimm", "check")) == {"check", "check-component", "checkpoint"}
    assert {"run", "power", "status", "report"} <= set(bash("unimm", "study", ""))
    assert zsh("unimm study pow") == ["power"]


def test_arms_presets_and_studies_are_completed() -> None:
    assert bash("unimm", "run", "") == sorted(map(str, Path("ablations").glob("*.yaml")))
    assert bash("unimm", "run", "ablations/vae_f") == ["ablations/vae_fm.yaml", "ablations/vae_fm_joint.yaml"]
    assert bash("unimm", "run", "tests/plugin") == [], "the shell completes other files and folders itself"
    assert bash("unimm", "plan", "paper") == ["paper_ablation"]
    studies = bash("unimm", "study", "run", "")
    assert "ablations/studies/design_choices.yaml" in studies and "ablations/studies/claims.yaml" not in studies


def test_kinds_and_names_are_completed() -> None:
    assert bash("unimm", "list", "enc") == ["encoders"]
    assert bash("unimm", "list", "encoders", "open") == ["open_clip"]
    assert zsh("unimm list objectives ") == objectives.names()
    assert bash("unimm", "list", "scores", "") == []
    assert "flow_matching" in bash("unimm", "check-component", "fl")


def test_keys_are_those_of_the_chosen_components() -> None:
    assert bash("unimm", "run", ARM, "training.batch") == ["training.batch_size="]
    assert bash("unimm", "run", ARM, "objective.guid") == ["objective.guidance=", "objective.guidance=3.0"]
    assert bash("unimm", "run", ARM, "objective", "=", "cosine", "objective.") == [
        "objective.rms=",
        "objective.rms=1.0",
    ]
    assert zsh(f"unimm run {ARM} objective=cosine objective.") == ["objective.rms=", "objective.rms=1.0"]
    of_clip, of_vae = bash("unimm", "run", "ablations/clip_fm.yaml", "encoder."), bash("unimm", "run", ARM, "encoder.")
    assert of_clip == ["encoder.grid=", "encoder.standardise=", "encoder.decoder="]
    assert of_vae == ["encoder.patch=", "encoder.standardise="]
    assert bash("unimm", "decoder", "train", ARM, "training.lear") == ["training.learning_rate="]


def test_values_replace_the_last_word_in_bash_and_the_whole_word_in_zsh() -> None:
    assert bash("unimm", "run", ARM, "encoder", "=") == bash("unimm", "run", ARM, "encoder", "=", "")
    assert bash("unimm", "run", ARM, "encoder", "=", "pi") == ["pixels"]
    assert zsh(f"unimm run {ARM} encoder=pi") == ["encoder=pixels"]
    assert zsh(f"unimm run {ARM} profile=") == ["profile=nano", "profile=nano-2", "profile=small", "profile=tiny"]
    assert bash("unimm", "run", ARM, "training.precision", "=") == ["auto", "fp32", "bf16"]
    assert zsh(f"unimm run {ARM} encoder.standardise=") == ["encoder.standardise=true", "encoder.standardise=false"]
    times = [f"objective.time_sampling={value}" for value in ("uniform", "logit_normal")]
    assert zsh(f"unimm run {ARM} objective.time_sampling=") == times
    assert zsh(f"unimm run {ARM} nothing.like.it=") == []


def test_a_file_that_cannot_be_read_is_no_matter(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    for arm in (broken, tmp_path / "absent.yaml"):
        assert "encoder.grid=" in bash("unimm", "run", str(arm), "encoder.")
    assert bash("unimm", "run", ARM, "encoder", "=", "no.module:Encoder", "encoder.") == []


def test_completion_imports_nothing_heavy() -> None:
    asked = {"_UNIMM_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"unimm run {ARM} encoder=open_clip encoder."}
    command = [sys.executable, "-X", "importtime", "-m", "unimm"]
    done = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert "encoder.pretrained=" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "unimm.completion" in loaded and not {"torch", "transformers", "hydra", "numpy"} & loaded


def test_bash_itself_completes(tmp_path: Path) -> None:
    command = tmp_path / "unimm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m unimm "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(_UNIMM_COMPLETE=source_bash unimm)"; complete -p unimm\n'
        f"COMP_WORDS=(unimm run {ARM} encoder = pi); COMP_CWORD=5; _unimm_completion unimm\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["complete -o default -F _unimm_completion unimm", "pixels"]
