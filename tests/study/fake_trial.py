"""Stands in for `unimm study trial SETTINGS --out OUT`: a few steps, then a record whose score depends on the settings.

Appends `TRIAL start`, `TRIAL step N` and `TRIAL record` to `executions.txt` in the tuning's folder, and crashes for
every learning rate above the limit that the environment names. Uses nothing of unimm, so it starts fast.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

STEPS, SECONDS = 3, 0.05


def main(settings_file: Path, out: Path) -> None:
    settings = json.loads(settings_file.read_text())
    journal = out.parents[2] / "executions.txt"

    def note(what: str) -> None:
        with journal.open("a") as stream:
            stream.write(f"{settings['arm']}/trial{settings['number']} {what}\n")

    out.mkdir(exist_ok=True)
    (out / "config.yaml").write_text("a run claims its folder so")
    note("start")
    rate = settings["config"]["training"]["learning_rate"]
    if rate > float(os.environ.get("FAKE_RATE_LIMIT", "inf")):
        raise SystemExit("the loss is not finite")
    checkpoint = out / "last.ckpt"
    for step in range(int(checkpoint.read_text()) if checkpoint.exists() else 0, STEPS):
        time.sleep(SECONDS)
        replace(checkpoint, str(step + 1))
        note(f"step {step + 1}")
    value = 0.6 - 0.1 * abs(math.log10(rate) + 2.7)
    chosen = {key: values[-1] for key, values in settings["by_sampling"].items()}
    training = settings["config"]["training"]
    record = {
        "settings": settings,
        "chosen": chosen,
        "value": value,
        "untuned": value - 0.05,
        "evaluations": [{"settings": {}, "value": value - 0.05}, {"settings": chosen, "value": value}],
        "n": 12,
        "samples": training["samples"] // training["batch_size"] * training["batch_size"],
        "seconds": 1.0,
        "device": "none",
        "versions": {},
    }
    note("record")
    replace(out / "trial.json", json.dumps(record))


def replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
