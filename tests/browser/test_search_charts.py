"""The charts of a search in Chromium, under a policy without eval: all are drawn, and a dragged range keeps lines."""

import base64
import hashlib
import json

import pytest
from tests.reports.histories import draw_history

from embsweep.reports.html.charts.search_charts import search_charts

SCRIPT = """
const specs = JSON.parse(document.getElementById("specs").textContent);
window.views = {};
for (const [key, spec] of Object.entries(specs)) {
  const place = document.createElement("div");
  place.id = key;
  document.body.append(place);
  const shown = vegaEmbed(place, spec, {renderer: "svg", ast: true, actions: false, defaultStyle: false});
  shown.then((result) => { window.views[key] = result.view; }, (error) => console.error(String(error)));
}
"""
KEPT = "views['search-parallel'].data('kept').map((line) => line.trial)"


@pytest.fixture
def charts(browser, tmp_path):
    """A page with the charts of forty trials, whose console must stay empty, and the specifications by key."""
    import vl_convert

    specs = {chart.key: chart.spec for chart in search_charts(draw_history(40))}
    script = vl_convert.javascript_bundle(SCRIPT)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    data = json.dumps(specs).replace("<", "\\u003c")
    path = tmp_path / "charts.html"
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<body><script type="application/json" id="specs">{data}</script><script>{script}</script>',
        "utf-8",
    )
    messages = []
    page = browser.new_page(viewport={"width": 800, "height": 900})
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function(f"Object.keys(window.views || {{}}).length == {len(specs)}", timeout=90_000)
    yield page, specs
    page.close()
    assert messages == []


def drag(page, axis, start, end):
    """Drag a range on an axis, between shares of its height from the top."""
    area = page.locator(f"#search-parallel .hit{axis} path").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    x, at = box["x"] + box["width"] / 2, [box["y"] + share * box["height"] for share in (start, end)]
    page.mouse.move(x, at[0])
    page.mouse.down()
    page.mouse.move(x, at[1], steps=5)
    page.mouse.up()


@pytest.mark.browser
def test_lines_within_all_dragged_ranges_are_kept(charts):
    page, specs = charts
    lines = {line["trial"]: line["y"] for line in specs["search-parallel"]["data"][0]["values"]}
    last = len(next(iter(lines.values()))) - 1
    assert len(page.evaluate(KEPT)) == len(lines)
    drag(page, last, 0.02, 0.5)
    ranges = [page.evaluate(f"views['search-parallel'].signal('range{last}')")]
    drag(page, 0, 0.3, 0.9)
    ranges.append(page.evaluate("views['search-parallel'].signal('range0')"))
    assert [round(end, 1) for end in ranges[0]] == [1.0, 0.5]
    within = {
        trial
        for trial, places in lines.items()
        if all(min(ends) <= places[axis] <= max(ends) for axis, ends in zip((last, 0), ranges, strict=True))
    }
    assert 0 < len(within) < len(lines)
    assert set(page.evaluate(KEPT)) == within
    texts = page.locator("#search-parallel text").all_text_contents()
    assert f"{len(within)} of {len(lines)} lines are within all ranges" in texts
    for axis in (0, last):
        drag(page, axis, 0.5, 0.5)
    assert len(page.evaluate(KEPT)) == len(lines), "a click removes the range of an axis"
