"""Stands in for `unimm run CONFIG --out OUT --resume`: a few steps with checkpoints, then a result; notes what it did.

Appends to `executions.txt` in the study's folder: `RUN start`, `RUN step N`, `RUN result`, and `RUN OVERLAP` or
`RUN DOUBLE` where another process runs the same folder or has finished it. Uses nothing of unimm, so it starts fast.
"""

import json
import os
import sys
import time
from pathlib import Path

STEPS, SECONDS = 4, 0.05


def main(config_file: Path, out: Path) -> None:
    config = json.loads(config_file.read_text())
    journal = out.parents[2] / "executions.txt"

    def note(what: str) -> None:
        with journal.open("a") as stream:
            stream.write(f"{config['name']}/seed{config['seed']} {what}\n")

    out.mkdir(exist_ok=True)
    (out / "config.yaml").write_text(config_file.read_text())
    if (out / "result.json").exists():
        note("DOUBLE")
    if (out / "pid").exists() and alive(int((out / "pid").read_text())):
        note("OVERLAP")
    replace(out / "pid", str(os.getpid()))
    note("start")
    print("fake run starts", flush=True)
    if journal.read_text().count(f"{config['name']}/seed{config['seed']} start") <= int(config["question"]):
        raise SystemExit("no memory left on this device")
    checkpoint = out / "last.ckpt"
    for step in range(int(checkpoint.read_text()) if checkpoint.exists() else 0, STEPS):
        time.sleep(SECONDS)
        replace(checkpoint, str(step + 1))
        note(f"step {step + 1}")
    (out / "samples").mkdir(exist_ok=True)
    (out / "samples" / "sheet.png").write_bytes(b"png")
    (out / "samples" / "grid.json").write_text("[]")
    (out / "items.json").write_text("{}")
    note("result")
    replace(
        out / "result.json", json.dumps({"arm": config["name"], "seed": config["seed"], "hashes": {}, "config": config})
    )


def alive(process: int) -> bool:
    """Whether the process exists and still computes: a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
