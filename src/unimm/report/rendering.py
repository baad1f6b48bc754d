"""What pages share: the template environment, pictures inside the page, text safe in Markdown, and plain tables.

A plain table holds finished strings and gives Markdown and LaTeX from them: html, md and tex then cannot disagree.
"""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

# LaTeX's own characters first, then those that a plain pdflatex has no glyph for.
_LATEX = {
    "\n": " ",
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "✓": r"$\checkmark$",
}

LONG_NAME = 24  # characters
_WITHIN_NUMBERS = re.compile(r" (?=[±%])|(?<=±) |(?<=\d) (?=to [-+x]?\d)|(?<=\d to) |(?<=\d;) (?=[-\d])|(?<=\[-;) ")


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
    made.filters |= {"cell": cell, "slug": slug, "contents": contents}
    made.filters |= {"held": held, "breakable": breakable, "with_code": with_code}
    return made


def inline(data: bytes, kind: str) -> str:
    """A picture of the media type `image/<kind>` as a URI, so that the page needs no second file."""
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def slug(title: str) -> str:
    """The anchor of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(body: str) -> list[tuple[str, Markup]]:
    """Anchor and title of every section of a page, as the template `section` writes them."""
    found = re.findall(r"<summary><h2>(.*?)</h2></summary>\s*<div id=\"(.*?)\">", body)
    return [(anchor, Markup(title)) for title, anchor in found]


def cell(text: str) -> str:
    """`text` safe inside a Markdown table cell."""
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("`", "\\`"), ("\n", " ")):
        text = text.replace(plain, escaped)
    return text


def held(text: str) -> str:
    """Text whose numbers no line breaks apart: "0.5 ± 0.1", "1 to 2", "5 %" and "[0; 1]" stay whole."""
    return _WITHIN_NUMBERS.sub("\u00a0", text)


def breakable(name: str) -> Markup:
    """A name for HTML; a long one may be broken after any of its underscores, so that no column is as wide as it."""
    shown = escape(name)
    return shown.replace("_", Markup("_<wbr>")) if len(name) > LONG_NAME else shown


def with_code(text: str) -> Markup:
    """Text for HTML in which what stands between backticks is code."""
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", str(escape(text))))


@dataclass(frozen=True)
class PlainTable:
    """Strings by row and column; `name` is its file's, `text_columns` of the columns are words, the rest numbers.

    `marked` are the positions of rows to highlight, `note` says how to read the table.
    """

    name: str
    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    marked: frozenset[int] = frozenset()
    text_columns: int = 1

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.headers) for row in self.rows), f"{self.name}: a row of another length"


def markdown(table: PlainTable) -> str:
    """The table as Markdown, marked rows in bold."""
    rule = ["---" if column < table.text_columns else "---:" for column in range(len(table.headers))]
    lines = [table.headers, rule]
    for number, row in enumerate(table.rows):
        cells = [cell(text) for text in row]
        lines.append([f"**{text}**" if text else "" for text in cells] if number in table.marked else cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex(table: PlainTable) -> str:
    """The table as a booktabs fragment for `\\input`; the paper adds its own caption."""
    alignment = "".join("l" if column < table.text_columns else "r" for column in range(len(table.headers)))
    rows = [" & ".join(_latex(text) for text in row) + r" \\" for row in table.rows]
    head = " & ".join(_latex(text) for text in table.headers) + r" \\"
    begin, end = f"\\begin{{tabular}}{{{alignment}}}", r"\end{tabular}"
    return "\n".join(
        [f"% {' '.join(table.title.split())}", begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end, ""]
    )


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
