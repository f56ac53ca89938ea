"""Made-up reports, rendered without drawing, and what a page says: its numbers, tables and texts."""

import functools
from html.parser import HTMLParser

from embsweep.reports.html.page import Commands, Provenance, QueryText, ReportData, State
from embsweep.reports.html.pictures import Pictures
from embsweep.reports.html.render import render_report
from tests.reports.evidence_samples import typical

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>'
COMMANDS = Commands("python run_sweep.py +sweep=legal", "embsweep status legal", "embsweep promote legal")
FINISHED = State("FINISHED", 8, 8, {"complete": 3, "stopped": 4, "failed": 1}, 0.4, 0.55, 3)


def draw_nothing(specs):
    """Return an empty picture for each specification."""
    return Pictures((SVG,) * len(specs), "void 0")


def make_report(evidence=None, *, history=None, **changes):
    """Return what a report says, by default of a finished sweep."""
    values = {
        "name": "legal",
        "title": "Sweep 'legal' on minilm",
        "objective": "mean map@100",
        "state": FINISHED,
        "commands": COMMANDS,
        "provenance": Provenance((("git commit", "1234567"),), (("note", "merged", "4 merged", ""),), ()),
        "written_at": "2026-01-02 03:04 UTC",
        "evidence": evidence,
        "history": history,
    }
    return ReportData(**{**values, **changes})


def render(data, draw_charts=draw_nothing):
    """Return the page as text."""
    return render_report(data, draw_charts=draw_charts).decode()


@functools.cache
def typical_page():
    """Return the page of a typical result, whose queries have texts."""
    evidence = typical()
    texts = {number: QueryText(f"query {number}?", f"passage {number}.") for number in range(len(evidence.groups))}
    return render(make_report(evidence, texts=texts))


class Page(HTMLParser):
    """A parsed page: text, number elements, tables by the id of their figure, scripts, and attributes that refer."""

    def __init__(self, page):
        super().__init__()
        self.text, self.numbers, self.tables, self.scripts, self.references, self.tags = "", [], {}, [], [], set()
        self._figure = self._script = self._cell = None
        self.policy = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "srcset")]
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"]
        if tag == "figure":
            self._figure = given["id"]
        if tag == "script":
            self._script = given.get("type")
            self.scripts.append((self._script, ""))
        if tag == "tr" and self._figure:
            self.tables.setdefault(self._figure, []).append([])
        if tag in ("td", "th") and self._figure:
            self.tables[self._figure][-1].append("")
            self._cell = True
        if tag == "data":
            self.numbers.append(float(given["value"]))
            if self._cell:
                self.tables[self._figure][-1][-1] = float(given["value"])

    def handle_endtag(self, tag):
        if tag == "figure":
            self._figure = None
        if tag == "script":
            self._script = None
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[-1] = (self._script, self.scripts[-1][1] + data)
            return
        self.text += data
        if self._cell and isinstance(self.tables[self._figure][-1][-1], str):
            self.tables[self._figure][-1][-1] += data.strip()


def prose(page):
    """Return the text of a page with single spaces."""
    return " ".join(Page(page).text.split())
