# ruff: noqa: E501  tables
"""Configurations and files of random content end well or in a message of unimm's own, never in a library's traceback.

Every test counts what it tried and how long it took (pytest's ``record_property``, and what it prints). As many draws
as `EXAMPLES` are tried: few in `make test`, many in `make test-fuzz`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_inputs import ARM, CLAIM, HEAD, LOG, RESULT, STUDY, frozen
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from unimm.config import ConfigError, load
from unimm.data.folder import Folder
from unimm.data.tar_index import build_index, load_index
from unimm.export.parts import verify_manifest
from unimm.files import write_atomic
from unimm.foundation.folder import verify
from unimm.report.study import folder as study_folder
from unimm.runs.frames import load_items, load_runs
from unimm.runs.record import Items, Result, read_record, read_steps
from unimm.runs.run import read_weights
from unimm.runs.trial_record import TrialRecord
from unimm.schema import COMPONENTS, RunConfig
from unimm.strict_yaml import dump_yaml, read_yaml
from unimm.study.expand import expand_study
from unimm.study.plan import read_plan
from unimm.training.fit import read_checkpoint
from unimm.user_errors import raised_here

Note = Callable[[str, object], None]
EXAMPLES = int(os.environ.get("UNIMM_FUZZ_EXAMPLES", "20"))
pytestmark = pytest.mark.timeout(300 + 2 * EXAMPLES)

SECTIONS = list(RunConfig.model_fields)
LEAVES = ["name", "samples", "batch_size", "metrics", "path", "parts", "0", "seed", "lora", "pretrained", "x"]
KEYS = st.builds(".".join, st.lists(st.sampled_from([*SECTIONS, *LEAVES]), min_size=1, max_size=3))
NAMES = st.sampled_from([name for registry in COMPONENTS.values() for name in registry.names()])
WORDS = st.one_of(
    NAMES,
    st.sampled_from(
        ["null", "true", "-1", "0", "1e9", "010", "nan", "inf", "[]", "{}", "[1,2]", "{a: 1}", "{name: vae}"]
    ),
    st.sampled_from(["${name}", "${x}", "${", "}", "a:b", "os:path", "x.y:Z", "tiny", '"q"', "'q'", "1,2", "range(3)"]),
    st.text(max_size=6),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SECTIONS, *LEAVES]), inner, max_size=3)
    ),
    max_leaves=6,
)


def told(work: Callable[[], object]) -> bool:
    """Whether the work ended well; a mistake has to be told in unimm's own words, anything else is raised."""
    try:
        work()
    except OSError:
        return False
    except ValueError as error:
        if not raised_here(error) or not str(error).strip():
            raise
        return False
    return True


def fuzz(strategy: Any, note: Note, work: Callable[[Any], object]) -> None:
    """Try so many draws and note how many there were, how many ended well, and the seconds."""
    tried, well, began = 0, 0, time.perf_counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def attempt(value: Any) -> None:
        nonlocal tried, well
        tried += 1
        well += told(lambda: work(value))

    attempt()
    seconds = round(time.perf_counter() - began, 1)
    for name, value in (("tried", tried), ("ended well", well), ("seconds", seconds)):
        note(name, value)
    print(f"{tried} tried, {well} ended well, {seconds} s")
    assert tried >= EXAMPLES // 2


def test_overrides(record_property: Note) -> None:
    pairs = st.builds(lambda key, value: f"{key}={value}", KEYS, WORDS)
    texts = st.lists(st.one_of(pairs, pairs, st.text(max_size=12)), min_size=1, max_size=3)
    fuzz(texts, record_property, lambda given: load(ARM, ["profile=tiny", *given]))


def test_arms(record_property: Note, tmp_path: Path) -> None:
    own = st.dictionaries(st.sampled_from([*SECTIONS, "defaults", "component_defaults", "hydra"]), VALUES, max_size=4)

    def read(content: dict[str, Any]) -> None:
        with suppress(UnicodeEncodeError):
            write_atomic(tmp_path / "arm.yaml", HEAD * ("defaults" not in content) + dump_yaml(content))
            load(tmp_path / "arm.yaml")

    fuzz(own, record_property, read)


def test_texts_of_arms(record_property: Note, tmp_path: Path) -> None:
    lines = st.lists(
        st.sampled_from([*HEAD.split(), "name: x", "- a", "&a", "*a", "|", ">", "? k", "!!int 3", "#", ":"])
    )
    texts = st.one_of(st.text(), lines.map("\n".join), lines.map(" ".join)).map(lambda text: HEAD + text)

    def read(text: str) -> None:
        assume(all(not 0xD800 <= ord(letter) < 0xE000 for letter in text))
        write_atomic(tmp_path / "arm.yaml", text)
        load(tmp_path / "arm.yaml")

    fuzz(texts, record_property, read)


def test_studies_and_claims(record_property: Note, tmp_path: Path) -> None:
    keys = [*STUDY, "amendments", "tuned", "overrides"]
    claim_keys = [*CLAIM, "role", "metric", "direction", "budget", "contrast", "smallest_effect", "guards", "arms"]
    changes = st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=2)
    claims = st.dictionaries(st.sampled_from(claim_keys), VALUES, max_size=3)

    def plan(drawn: tuple[dict[str, Any], dict[str, Any]]) -> None:
        with suppress(UnicodeEncodeError):
            write_atomic(tmp_path / "study.yaml", dump_yaml(STUDY | drawn[0]))
            write_atomic(tmp_path / "claims.yaml", dump_yaml({"alpha": 0.05, "claims": [CLAIM | drawn[1]]}))
            expand_study(tmp_path / "study.yaml")

    fuzz(st.one_of(st.tuples(changes, claims), st.tuples(st.just({}), claims)), record_property, plan)


def whole_checkpoint() -> bytes:
    import io

    stream = io.BytesIO()
    torch.save({"global_step": 3, "callbacks": {}, "state_dict": {"a": torch.zeros(3)}}, stream)
    return stream.getvalue()


def whole_tar() -> bytes:
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in (("a.jpg", b"x" * 700), ("a.txt", b"a red circle"), ("a.json", b'{"caption": "c"}')):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


TRIAL = {
    "settings": {"plan": "p", "arm": "a", "number": 0, "config": {}, "params": {}, "by_sampling": {}, "metric": "m"},
    "chosen": {}, "value": 1.0, "untuned": 1.0, "evaluations": [], "n": 1, "samples": 1, "seconds": 1.0, "device": "cpu", "versions": {},
}  # fmt: skip
ITEMS = {"prompts": [{"prompt": "p", "tag": "t"}], "scores": {"geneval/overall": [1.0]}}
MODEL = {"_class_name": "UnimmPipeline", "_unimm_version": "0", "format": 1, "files": {}}

# Reader -> the file's name, its content when whole, and who reads the folder with it.
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "yaml": ("a.yaml", HEAD.encode(), lambda d: read_yaml(d / "a.yaml")),
    "result": ("result.json", RESULT.encode(), lambda d: read_record(d / "result.json", Result)),
    "results": ("result.json", RESULT.encode(), load_runs),
    "items": ("items.json", json.dumps(ITEMS).encode(), lambda d: read_record(d / "items.json", Items)),
    "frames": ("items.json", json.dumps(ITEMS).encode(), lambda d: ((d / "result.json").write_text(RESULT), load_items(d))),
    "trial": ("trial.json", json.dumps(TRIAL).encode(), lambda d: read_record(d / "trial.json", TrialRecord)),
    "log": ("metrics.jsonl", LOG.encode(), lambda d: read_steps(d / "metrics.jsonl")),
    "checkpoint": ("last.ckpt", whole_checkpoint(), lambda d: read_checkpoint(d / "last.ckpt")),
    "weights": ("w.safetensors", save({"head.a": torch.zeros(3)}), lambda d: read_weights(d / "w.safetensors")),
    "index": ("index.safetensors", save({"a": torch.zeros(3)}, {"version": "4", "shards": "[]"}), lambda d: load_index(d / "index.safetensors")),
    "tar": ("a.tar", whole_tar(), build_index),
    "lines": ("a.jsonl", b'{"file": "a.png", "caption": "a"}\n', lambda d: Folder(Folder.Config(path=str(d)), 64)),
    "export": ("model_index.json", json.dumps(MODEL).encode(), verify_manifest),
    "foundation": ("card.json", json.dumps({"files": {}, "world": "nano"}).encode(), verify),
}  # fmt: skip


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """A file that was cut short, has other bytes somewhere, or holds anything."""
    place = st.integers(0, max(0, len(whole) - 1))
    cut = place.map(lambda end: whole[:end])
    patched = st.builds(
        lambda at, new: whole[:at] + new + whole[at + len(new) :], place, st.binary(min_size=1, max_size=4)
    )
    texts = [
        b"{}",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b'{"files": 3}',
        b'{"files": {"a": 1}}',
        b"[" * 3000,
        b"\xff",
        b"9" * 5000,
    ]
    return st.one_of(st.just(whole), cut, patched, st.sampled_from(texts), st.binary(max_size=60))


@pytest.mark.parametrize("name", READERS)
def test_files(name: str, record_property: Note, tmp_path: Path) -> None:
    file, whole, read = READERS[name]

    def attempt(content: bytes) -> None:
        (tmp_path / file).write_bytes(content)
        read(tmp_path)

    if name not in ("index", "tar", "lines"):  # what is whole is read
        attempt(whole)
    fuzz(damaged(whole), record_property, attempt)


def test_plans(record_property: Note, tmp_path: Path) -> None:
    frozen(tmp_path)
    path = tmp_path / "study" / "plan.json"
    whole = path.read_bytes()

    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        for read in (read_plan, study_folder.kind_of, study_folder.read):
            told(lambda read=read: read(path.parent))  # type: ignore[misc]

    fuzz(damaged(whole), record_property, attempt)
    path.write_bytes(whole)
    assert read_plan(path.parent).name == "study"


def test_a_library_error_would_be_seen() -> None:
    with pytest.raises(json.JSONDecodeError):
        told(lambda: json.loads("{"))
    with pytest.raises(KeyError):
        told(lambda: {}["x"])  # type: ignore[typeddict-item]
    assert not told(lambda: load(Path("absent.yaml"))) and issubclass(ConfigError, ValueError)
