"""The report in a real browser without any network: interactive charts under its policy, and nothing overflows."""

import pytest
from tests.reports.evidence_samples import DIMS, make_evidence
from tests.reports.histories import draw_history
from tests.reports.report_pages import make_report

from embsweep.reports.html.page import QueryText
from embsweep.reports.html.render import render_report
from embsweep.selection.evidence import Interval, QuantizationRecord

pytestmark = pytest.mark.browser
_KEPT = {"float32": (4, 1.0), "float16": (2, 0.999), "int8": (1, 0.98), "binary": (0.125, 0.85)}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a typical result with everything that it can show."""
    stored = tuple(
        QuantizationRecord(
            dim=dim, precision=precision, rescored=rescored, bytes=round(dim * size), search_ms=0.001 * dim * size,
            score=Interval(mean=kept * dim**0.1 / 2, low=kept * dim**0.1 / 2.2, high=kept * dim**0.1 / 1.8),
        )
        for dim in DIMS
        for precision, (size, kept) in _KEPT.items()
        for rescored in ([False, True] if size <= 1 else [False])
    )  # fmt: skip
    evidence = make_evidence(quantization=stored, slices=("contracts", "tax", "labour") * 20)
    texts = {number: QueryText(f"Is clause {number} void?", "It is void if … " * 15) for number in range(60)}
    data = make_report(evidence, texts=texts, history=draw_history(40))
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(render_report(data))
    return path


@pytest.fixture
def open_report(browser, report):
    """`open_report(width, colours, javascript=True)`: open the report, and show every chart."""
    contexts = []

    def show(width, colours, *, javascript=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=colours, offline=True, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.problems, page.asked = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(report.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "colours"), [(1440, "light"), (1440, "dark"), (390, "light")])
def test_every_chart_becomes_interactive_without_a_request(open_report, screenshot_of, report, width, colours):
    page = open_report(width, colours)
    figures = page.locator("figure.chart")
    assert figures.count() == 11
    for number in range(figures.count()):
        figures.nth(number).scroll_into_view_if_needed()
        page.locator("figure.chart >> nth=" + str(number) + " >> css=.view svg").wait_for()
    assert page.problems == []
    assert page.asked == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("figure.chart[data-state=interactive]").count() == 11
    screenshot_of(page, f"report-{width}-{colours}")


def test_the_list_of_queries_is_filtered(open_report):
    page = open_report(1440, "light")
    page.locator("#query-list > summary").click()
    page.locator("#query-filter").fill("CLAUSE 17")
    assert page.locator("#query-list tbody tr:visible").count() == 1
    assert page.locator("#query-count").text_content() == "1 of 60 shown"


def test_without_javascript_there_are_pictures_and_numbers(open_report, screenshot_of):
    page = open_report(1440, "light", javascript=False)
    assert page.locator(".picture > svg").count() == 11
    assert page.locator("#quality table").is_visible()
    screenshot_of(page, "report-static")
