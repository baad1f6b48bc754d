"""Reads a finished run folder into types, and says what is wrong with one that cannot be read."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from unimm.report.schema import Result, Sample, Step


@dataclass(frozen=True)
class RunFolder:
    """Everything that the page shows."""

    path: Path
    result: Result
    steps: tuple[Step, ...]
    samples: tuple[Sample, ...]
    config: str

    def image(self, sample: Sample) -> bytes:
        """The PNG of one sample, which must lie inside the run folder."""
        path = (self.path / sample.file).resolve()
        if not path.is_relative_to(self.path.resolve()):
            raise ValueError(f"samples/grid.json names {sample.file}, outside the run folder {self.path}")
        if not path.is_file():
            raise ValueError(f"{path} is missing: sample the run again, or drop it from samples/grid.json")
        return path.read_bytes()


def read(run_dir: Path) -> RunFolder:
    """Read the run in `run_dir`; ValueError says which file is missing or malformed."""
    try:
        return RunFolder(
            path=run_dir,
            result=Result.model_validate_json(_text(run_dir, "result.json")),
            steps=_steps(_text(run_dir, "metrics.jsonl")),
            samples=tuple(TypeAdapter(list[Sample]).validate_json(_text(run_dir, "samples/grid.json"))),
            config=_text(run_dir, "config.yaml"),
        )
    except ValidationError as error:
        raise ValueError(f"{run_dir}: a file does not follow docs/result.md: {error}") from error


def _text(run_dir: Path, name: str) -> str:
    path = run_dir / name
    if not path.is_file():
        raise ValueError(f"{run_dir} is not a finished run: it has no {name}. Finish it with `unimm run` first.")
    return path.read_text(encoding="utf-8")


def _steps(text: str) -> tuple[Step, ...]:
    """The training log in step order; where a resumed run repeats a step, the later line counts."""
    steps: dict[int, Step] = {}
    for count, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            step = Step.model_validate(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"metrics.jsonl, line {count}, is not JSON: delete that line") from error
        steps[step.step] = step
    return tuple(steps[key] for key in sorted(steps))
