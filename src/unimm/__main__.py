"""`python -m unimm` is the `unimm` command."""

from unimm.cli import app

app(prog_name="unimm")
