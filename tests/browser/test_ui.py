"""MLflow's own UI shows the sweep, its trials, their comparison and the registered winner."""

import re

import pytest

pytestmark = pytest.mark.browser

AXES = ["train.epochs", "train.learning_rate", *(f"best/dim_{dim}/map_at_100" for dim in (384, 256, 128, 64))]


@pytest.fixture
def runs_page(page, url, finished):
    page.goto(f"{url}#/experiments/{finished.experiment_id}/runs?workflowType=machine_learning")
    page.get_by_role("link", name="quickstart").wait_for()
    assert page.get_by_role("link", name=re.compile("^trial ")).count() == 0
    parent = page.locator("[role=row]", has_text="quickstart").first
    parent.locator("button.du-bois-light-btn-icon-only").click()
    page.get_by_role("link", name="trial 0").wait_for()
    return page


def _compare(page, url, finished, trials):
    runs = ",".join(f"%22{finished.trials[number]}%22" for number in trials)
    experiment = finished.experiment_id
    page.goto(f"{url}#/compare-runs?runs=[{runs}]&experiments=[%22{experiment}%22]&workflowType=machine_learning")
    page.get_by_text("Visualizations").wait_for()


def test_the_printed_link_opens_the_trials_with_their_scores(page, link, finished, screenshot):
    page.goto(link)
    page.get_by_role("columnheader", name="best_objective").first.wait_for()
    best = max(finished.records, key=lambda record: record.best)
    page.get_by_text(str(best.best)[:6]).first.wait_for()
    names = page.get_by_role("link", name=re.compile("^trial ")).all_inner_texts()
    ranked = sorted(finished.records, key=lambda record: -record.best)
    assert [name for name in names if " " in name] == [f"trial {record.number}" for record in ranked]
    screenshot("view")


def test_trials_are_grouped_under_their_sweep(runs_page, screenshot):
    names = runs_page.get_by_role("link", name=re.compile("^trial ")).all_inner_texts()
    assert [name for name in names if " " in name] == [f"trial {number}" for number in (3, 2, 1, 0)]
    assert runs_page.get_by_text(re.compile("docstrings \\([0-9a-f]{16}\\)")).is_visible()
    screenshot("runs")


def test_two_selected_trials_are_compared(runs_page, finished, screenshot):
    chosen = [finished.records[number] for number in (2, 3)]
    for record in chosen:
        row = runs_page.locator("[role=row]", has_text=f"trial {record.number}").first
        row.locator("input[type=checkbox]").first.check(force=True)
    runs_page.get_by_role("button", name="Compare").click()
    runs_page.get_by_role("heading", name="Comparing 2 Runs from 1 Experiment").wait_for()
    rates = [str(record.params["train.learning_rate"]) for record in chosen]
    parameters = runs_page.locator("tr", has_text="train.learning_rate").filter(has_text=rates[0]).first
    parameters.wait_for()
    assert rates[1] in parameters.inner_text()
    runs_page.get_by_text("Metrics", exact=True).last.scroll_into_view_if_needed()
    runs_page.get_by_role("link", name="best/dim_128/map_at_100").wait_for()  # rows not in view are not in the page
    table = runs_page.locator("[role=grid]", has_text="best/dim_128/map_at_100").locator("xpath=ancestor::div[2]")
    best = [round(record.scores[128]["map@100"], 3) for record in chosen]
    assert {str(value) for value in best} <= set(re.findall(r"0\.\d+", table.inner_text()))
    screenshot("compare")


def test_parallel_coordinates_of_parameters_and_every_dimension(page, url, finished, screenshot):
    _compare(page, url, finished, range(4))
    metrics = page.locator(".du-bois-light-select").nth(1)
    metrics.locator(".du-bois-light-select-selection-item-remove").first.click()
    metrics.click()
    for axis in AXES[2:]:
        page.keyboard.type(axis)
        page.locator(f".du-bois-light-select-item-option[title='{axis}']").wait_for()
        page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.locator(".axis-title", has_text=AXES[-1]).wait_for()
    assert page.locator(".axis-title").all_text_contents() == AXES
    page.wait_for_timeout(1000)  # the lines are drawn on a canvas: there is no element to wait for
    screenshot("parallel")


def test_the_registered_version_has_its_alias_and_scores(page, url, finished, screenshot):
    page.goto(f"{url}#/models/quickstart?workflowType=machine_learning")
    row = page.locator("[role=row], tr", has_text="Version 1").last
    row.wait_for()
    page.get_by_text("challenger").first.wait_for()
    text = row.inner_text()
    score = finished.result.evidence.test["winner"].scores[384]["map@100"]
    for expected in ("challenger", f"map@100 {score:.4f} at 384", "test/dim_256/map_at_100"):
        assert expected in text
    screenshot("registry")
