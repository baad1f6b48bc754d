"""What pages share: the template environment, pictures inside the page, and text safe in Markdown tables."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape


def environment() -> Environment:
    """Templates beside this file; those that end in `html.j2` escape whatever they show."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["cell"] = cell
    return made


def inline(data: bytes, kind: str) -> str:
    """A picture of the media type `image/<kind>` as a URI, so that the page needs no second file."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def cell(text: str) -> str:
    """`text` safe inside a Markdown table cell."""
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(plain, escaped)
    return text
