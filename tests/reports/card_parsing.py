"""Parsing of a model card: its front matter, its headings, and every table as rows of cells."""

import re
from dataclasses import dataclass

import yaml
from markdown_it import MarkdownIt

NUMBER = re.compile(r"(?<![\w.])[+-]?\d\.\d{4}(?![\d])")


@dataclass(frozen=True)
class Table:
    """A table: `heading` is the last one above it, cells have no markup, `bold` are each row's columns in bold."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    bold: tuple[frozenset[str], ...]

    def by(self, column):
        """Return the rows by their cell in `column`, which must be unique."""
        found = {row[column]: row for row in self.rows}
        assert len(found) == len(self.rows)
        return found


def front_matter(card):
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def body(card):
    return card.split("\n---\n", 1)[1]


def render(card):
    return _parser().render(body(card))


def tables(card):
    """Return all tables in order."""
    found, heading, cells, is_bold = [], "", [], []
    tokens = _parser().parse(body(card))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before.type == "heading_open":
            heading = token.content
        elif token.type == "tr_open":
            cells.append([])
            is_bold.append([])
        elif token.type == "inline" and before.type in ("td_open", "th_open"):
            cells[-1].append(re.sub(r"\\(.)", r"\1", token.content.replace("**", "").replace("`", "")))
            is_bold[-1].append(token.content.startswith("**") and token.content.endswith("**"))
        elif token.type == "table_close":
            found.append(_to_table(heading, cells, is_bold))
            cells, is_bold = [], []
    return found


def table(card, *columns):
    """Return the only table whose columns begin with `columns`."""
    (found,) = [one for one in tables(card) if one.columns[: len(columns)] == columns]
    return found


def metric_tables(card):
    """Return the tables of the evaluator, by dimension."""
    dims = map(int, re.findall(r"^\* Dataset: `dim_(\d+)`$", body(card), re.MULTILINE))
    return dict(zip(dims, [one for one in tables(card) if one.heading == "Information Retrieval"], strict=True))


def section(card, heading):
    """Return the text below a heading of the third level, up to the next heading."""
    return re.split(r"\n#{2,3} ", body(card).split(f"\n### {heading}\n", 1)[1], maxsplit=1)[0]


def _to_table(heading, cells, is_bold):
    columns = tuple(cells[0])
    rows = tuple(dict(zip(columns, row, strict=True)) for row in cells[1:])
    bold = tuple(frozenset(c for c, yes in zip(columns, row, strict=True) if yes) for row in is_bold[1:])
    return Table(heading, columns, rows, bold)


def _parser():
    return MarkdownIt("commonmark", {"html": True}).enable("table")
