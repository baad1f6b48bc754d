"""`python -m unimm.study.ranks N COMMAND...`: N ranks of a command on this node, as torchrun starts them.

It is torchrun's own agent with two differences. Its ranks get SIGTERM when it dies, however that was, so that a kill
leaves none of them behind. And it ends with the exit code of the rank that failed, where torchrun always ends with 1: a
study tries a mistake (exit code 2) only once. A signal to it reaches all ranks, which leave a checkpoint.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from unimm.study.tether import tethered
from unimm.user_errors import MISTAKE

INTERRUPTED = 130


def ranked(command: list[str], ranks: int) -> list[str]:
    """The command line that runs `command` in so many ranks; of one it is the command itself."""
    return command if ranks == 1 else [sys.executable, "-m", "unimm.study.ranks", str(ranks), *command]


def exit_code(codes: Iterable[int]) -> int:
    """That of a mistake if a rank made one, else the first; ended by a signal N is 128 + N, as shells say it."""
    found = list(codes)
    code = MISTAKE if MISTAKE in found else found[0]
    return code if code >= 0 else 128 - code


def main() -> None:
    """Start the ranks and wait for them."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    count, command = sys.argv[1], sys.argv[2:]
    try:
        run(parse_args(["--standalone", f"--nproc-per-node={count}", "--no-python", *tethered(command)]))
    except ChildFailedError as failed:
        sys.exit(exit_code(failure.exitcode for failure in failed.failures.values()))
    except SignalException:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
