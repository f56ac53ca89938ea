"""What a user sees in MLflow's own interface: the sweep, its trials, their comparison, the registered winner."""

import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

AXES = ["train.epochs", "train.learning_rate", *(f"best/dim_{dim}/map_at_100" for dim in (384, 256, 128, 64))]


@pytest.fixture
def runs_page(page, url, finished):
    page.goto(f"{url}/#/experiments/{finished.store.experiment_id}/runs?workflowType=machine_learning")
    page.get_by_role("link", name="legal-rehearsal").wait_for()
    assert page.get_by_role("link", name=re.compile("^trial ")).count() == 0
    parent = page.locator("[role=row]", has_text="legal-rehearsal").first
    parent.locator("button.du-bois-light-btn-icon-only").click()
    page.get_by_role("link", name="trial 0").wait_for()
    return page


def _compare(page, url, finished, trials):
    runs = ",".join(f"%22{finished.trials[number]}%22" for number in trials)
    experiment = finished.store.experiment_id
    page.goto(f"{url}/#/compare-runs?runs=[{runs}]&experiments=[%22{experiment}%22]&workflowType=machine_learning")
    page.get_by_text("Visualizations").wait_for()


def test_trials_are_grouped_under_their_sweep(runs_page, screenshot):
    names = runs_page.get_by_role("link", name=re.compile("^trial ")).all_inner_texts()
    assert [name for name in names if " " in name] == [f"trial {number}" for number in (5, 4, 3, 2, 1, 0)]
    assert runs_page.get_by_text("docstrings (3f2a3f2a3f2a3f2a)").is_visible()
    screenshot("runs")


def test_two_trials_are_selected_and_compared(runs_page, screenshot):
    for number in (2, 3):
        row = runs_page.locator("[role=row]", has_text=f"trial {number}").first
        row.locator("input[type=checkbox]").first.check(force=True)
    runs_page.get_by_role("button", name="Compare").click()
    runs_page.get_by_role("heading", name="Comparing 2 Runs from 1 Experiment").wait_for()
    parameters = runs_page.locator("tr", has_text="train.learning_rate").filter(has_text="2e-05").first
    parameters.wait_for()
    assert "5e-05" in parameters.inner_text()
    runs_page.get_by_text("Metrics", exact=True).last.scroll_into_view_if_needed()
    runs_page.get_by_role("link", name="best/dim_128/map_at_100").wait_for()  # rows out of sight are not in the page
    table = runs_page.locator("[role=grid]", has_text="best/dim_128/map_at_100").locator("xpath=ancestor::div[2]")
    assert set(re.findall(r"0\.4\d\d", table.inner_text())) >= {"0.416", "0.434"}
    screenshot("compare")


def test_learning_rate_and_epochs_against_every_dimension_in_parallel_coordinates(page, url, finished, screenshot):
    _compare(page, url, finished, range(6))
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
    page.wait_for_timeout(1000)  # the lines are drawn on a canvas: nothing to wait for
    screenshot("parallel")


def test_the_registered_version_has_its_alias_and_scores(page, url, finished, screenshot):
    page.goto(f"{url}/#/models/{finished.version.name}?workflowType=machine_learning")
    row = page.locator("[role=row], tr", has_text="Version 1").last
    row.wait_for()
    page.get_by_text("challenger").first.wait_for()
    text = row.inner_text()
    for expected in ("challenger", "map@100 0.4650 at 384", "test/dim_256/map_at_100"):
        assert expected in text
    screenshot("registry")
