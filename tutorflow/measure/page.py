"""A page to print: one HTML file that needs nothing else, built from escaped text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 15px/1.45 Georgia, serif; max-width: 46rem; margin: 2rem auto; color: #222;
  padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; border-bottom: 1px solid #bbb; }
table { border-collapse: collapse; width: 100%; font: 13px/1.35 sans-serif; margin: .6rem 0; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
th.number { text-align: right; }
p.note { color: #555; font-size: .9rem; }
svg { width: 100%; height: auto; margin: .6rem 0; }
@media print { body { margin: 0; max-width: none; } section { break-inside: avoid; } }
"""


def page(title: str, parts: Sequence[str], subtitle: str = "") -> str:
    """The whole file; ``parts`` are HTML of the functions below."""
    below = f"<p class='note'>{escape(subtitle)}</p>" if subtitle else ""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{below}\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part with its heading; parts that are empty are left out."""
    inside = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{inside}\n</section>"


def paragraph(words: str, is_note: bool = False) -> str:
    """A paragraph of plain words."""
    return f"<p class='note'>{escape(words)}</p>" if is_note else f"<p>{escape(words)}</p>"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; columns in which every text is a number are set to the right."""
    if not rows:
        return ""
    right = [
        all(_is_number(row[place]) for row in rows) and place > 0 for place in range(len(columns))
    ]
    head = "".join(_cell("th", name, right[n]) for n, name in enumerate(columns))
    body = "\n".join(
        f"<tr>{''.join(_cell('td', text, right[n]) for n, text in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, text: str, is_right: bool) -> str:
    return f"<{tag}{' class=number' if is_right else ''}>{escape(text)}</{tag}>"


def _is_number(text: str) -> bool:
    digits = text.replace(",", "").replace("%", "").replace("+", "").replace("-", "").strip()
    return not digits or digits.replace(".", "", 1).isdigit()
