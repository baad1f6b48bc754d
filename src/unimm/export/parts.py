"""The parts of a pipeline on disk, laid out as `diffusers` does: one folder a component, configuration and weights.

====================  ====================================================================================
``backbone/``         the language model, as `transformers` saves it
``tokenizer/``        its tokenizer with the chat template
``queries/``          the learnable queries and the image projector
``head/``             the head
``scheduler/``        the objective's name and settings: sampler steps, guidance, timestep shift
``decoder/``          latents to images
``model_index.json``  what the model consists of, with a hash of every file
====================  ====================================================================================

Every component is found in its registry by name, so that a plug-in's model needs the plug-in installed and no code
travels with the weights. The model card is not hashed, since people edit it where they publish it. A component's folder
may hold nothing that the index does not list: the loaders of `transformers` read whatever lies there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from unimm.components import Backbone, Decoder, Head, LatentSpec, Objective
from unimm.files import EXPORTED, read_object, write_json, written
from unimm.pipeline import Pipeline
from unimm.registry import backbones, decoders, heads, objectives
from unimm.runs.code import Code
from unimm.schema import RunConfig

SETTINGS, WEIGHTS = "config.json", "model.safetensors"
SCHEDULER = "scheduler_config.json"
INDEX, CARD = EXPORTED, "README.md"
CLASS, FORMAT = "UnimmPipeline", 1


def write_parts(pipeline: Pipeline, config: RunConfig, folder: Path) -> None:
    """Write every part of the pipeline below ``folder``; ValueError if the decoder cannot be exported."""
    backbone, spec = pipeline.backbone, pipeline.spec
    backbone.language_model().save_pretrained(folder / "backbone")
    backbone.tokenizer.save_pretrained(folder / "tokenizer")
    _write_weights(backbone, folder / "queries", leave_out="model.")
    kind = {"name": backbones.name_of(type(backbone)), "image_channels": backbone.image_channels}
    write_json(folder / "queries" / SETTINGS, {**backbone.config.model_dump(), **kind})
    _write_weights(pipeline.head, folder / "head", leave_out="for_training.")
    shapes = {"channels": spec.channels, "grid": list(spec.grid), "condition_channels": backbone.width}
    write_json(folder / "head" / SETTINGS, {**config.head.model_dump(), **shapes, "fingerprint": spec.fingerprint})
    write_json(folder / "scheduler" / SCHEDULER, config.objective.model_dump())
    _write_weights(pipeline.decoder, folder / "decoder")
    name = decoders.name_of(type(pipeline.decoder))
    write_json(folder / "decoder" / SETTINGS, {"name": name, **pipeline.decoder.settings()})


def read_parts(folder: Path) -> Pipeline:
    """The pipeline that `write_parts` wrote, on the CPU and in evaluation mode."""
    objective = _objective(folder / "scheduler")
    head, spec = _head(folder / "head", objective)
    parts = (_backbone(folder), head, _decoder(folder / "decoder"))
    for part in parts:
        part.requires_grad_(False).eval()
    backbone, head, decoder = parts
    return Pipeline(backbone, head, objective, decoder, spec)


def _backbone(folder: Path) -> Backbone:
    settings = _json(folder / "queries" / SETTINGS)
    channels = settings.pop("image_channels")
    cls: Any = backbones.get(settings.pop("name"))
    config = cls.Config.model_validate(settings)
    backbone: Backbone = cls.restore(config, folder / "backbone", folder / "tokenizer", channels)
    missing, unexpected = backbone.load_state_dict(load_file(folder / "queries" / WEIGHTS), strict=False)
    assert not unexpected and all(name.startswith("model.") for name in missing), "queries and projector are complete"
    return backbone


def _head(folder: Path, objective: Objective) -> tuple[Head, LatentSpec]:
    settings = _json(folder / SETTINGS)
    cls: Any = heads.get(settings.pop("name"))
    channels, grid = settings.pop("channels"), tuple(settings.pop("grid"))
    width, fingerprint = settings.pop("condition_channels"), settings.pop("fingerprint")
    head: Head = cls(cls.Config(**settings), objective.head_channels(channels), grid, width)
    head.load_state_dict(load_file(folder / WEIGHTS))
    return head, LatentSpec(grid[0] * grid[1], channels, grid, fingerprint)


def _objective(folder: Path) -> Objective:
    settings = _json(folder / SCHEDULER)
    cls: Any = objectives.get(settings.pop("name"))
    objective: Objective = cls(cls.Config(**settings))
    return objective


def _decoder(folder: Path) -> Decoder:
    settings = _json(folder / SETTINGS)
    decoder = decoders.get(settings.pop("name")).from_settings(settings)
    decoder.load_state_dict(load_file(folder / WEIGHTS))
    return decoder


def _write_weights(module: nn.Module, folder: Path, leave_out: str | None = None) -> None:
    """Parameters and buffers, but for those whose names start with ``leave_out``."""
    folder.mkdir()
    state = module.state_dict()
    kept = {name: value.contiguous().cpu() for name, value in state.items() if not name.startswith(leave_out or "\0")}
    with written(folder / WEIGHTS) as temporary:
        save_file(kept, temporary)


def _json(path: Path) -> dict[str, Any]:
    return read_object(path, "copy the model again")


def write_manifest(folder: Path, code: Mapping[str, Code]) -> None:
    """Write the index of everything in ``folder``, and the code that exported it, by package."""
    files = {name: _sha256(folder / name) for name in _inside(folder) if name not in (INDEX, CARD)}
    exported_by = {name: each.model_dump(mode="json") for name, each in code.items()}
    facts = {"_class_name": CLASS, "_unimm_version": version("unimm"), "_code": exported_by, "format": FORMAT}
    write_json(folder / INDEX, {**facts, "files": files})


def verify_manifest(folder: Path) -> None:
    """Check every file against the index.

    Raises:
        ValueError: no index, one of another kind or of a newer unimm, or a file that is missing, altered or unlisted.
    """
    files = _read(folder)["files"]
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} is missing: copy or export the whole model again")
        if _sha256(folder / name) != expected:
            raise ValueError(
                f"{folder / name} is truncated or altered (its sha256 is not that in {INDEX}): copy or export the "
                "model again"
            )
    components = {name.partition("/")[0] for name in files if "/" in name}
    for name in _inside(folder):
        if name.partition("/")[0] in components and name not in files:
            raise ValueError(f"{folder / name} is not part of the model ({INDEX} does not list it): remove it")


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        raise ValueError(f"{folder} holds no exported model: it has no {INDEX}; make one with `unimm export RUN DIR`")
    facts = read_object(folder / INDEX, "copy the model again")
    if facts.get("_class_name") != CLASS:
        raise ValueError(f"{folder} holds a {facts.get('_class_name')}, not a {CLASS}: load it with its own library")
    if not isinstance(facts.get("format"), int) or not isinstance(facts.get("files"), dict):
        raise ValueError(f"{folder / INDEX} is truncated or altered (it lists no files): copy the model again")
    if not 1 <= facts["format"] <= FORMAT:
        raise ValueError(
            f"{folder} was exported by unimm {facts.get('_unimm_version')}: install that version or a newer"
        )
    return facts


def _inside(folder: Path) -> list[str]:
    """Relative paths of all files, sorted, hidden files and folders at the top left out (hubs put theirs there)."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not name.startswith("."))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
