"""`python -m unimm.study.tether PARENT COMMAND...`: run a command that gets SIGTERM when its parent dies.

A worker that is killed with -9 cannot stop its run; Linux does it here, and the run leaves a checkpoint. Elsewhere
the command runs on, and the lock that it inherited keeps others out of its folder until it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tethered(command: list[str]) -> list[str]:
    """The command line that runs `command` tethered to this process."""
    return [sys.executable, "-m", "unimm.study.tether", str(os.getpid()), *command]


def main() -> None:
    """Ask for the signal, make sure that the parent did not die before, and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
