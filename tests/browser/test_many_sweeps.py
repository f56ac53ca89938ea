"""MLflow's pages with twenty sweeps, one of 300 trials: what `embsweep ui` opens is still the newest sweep's trials."""

import random
import re

import pytest
from tests.browser.conftest import serve
from tests.ledgers import report_at
from tests.sweep.schedulers import METADATA
from tests.sweep.test_projection import trial

from embsweep.search.record import CONFIG, STUDY
from embsweep.sweep.projection import project_sweep, project_trial
from embsweep.tracking.runs import RunWriter
from embsweep.tracking.store import open_store

pytestmark = [pytest.mark.browser, pytest.mark.nightly]

TRIALS = {number: 300 if number == 19 else 2 for number in range(20)}


def describe(number):
    tracking = METADATA["tracking"]
    identity = {**tracking["identity"], "name": f"sweep {number}"}
    view = {"metric": "map@100", "dims": [64], "swept": ["train.learning_rate"]}
    own = {"identity": identity, "view": view, "started_at": 10.0 + number}
    facts = {"name": f"sweep {number}", "title": f"Sweep {number}", "study_id": f"study{number:02}"}
    return {**METADATA, **facts, "status": "FINISHED", "ended_at": 99.0, "tracking": {**tracking, **own}}


def finish(number, objective):
    """Return the record of a trial that reported once; the rate follows the objective, so that the lines fan out."""
    rate = 10 ** (-3 - 4 * objective)
    own = {CONFIG: {"train": {"learning_rate": rate}, "eval": {"dims": [64]}}, "ended_at": 50.0}
    return trial("complete", report_at(1.0, objective, at=20.0), number=number, **own)


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    """The link of `embsweep ui`; the best objective of a sweep is .9 and belongs to its last trial."""
    root, rng = tmp_path_factory.mktemp("many"), random.Random(0)
    store = open_store(root, uri=None, experiment="embsweep")
    for number, count in TRIALS.items():
        metadata = describe(number)
        writer = RunWriter(store, metadata["study_id"])
        records = [finish(i, rng.uniform(0.1, 0.8) if i < count - 1 else 0.9) for i in range(count)]
        states = [project_trial(metadata, STUDY, record) for record in records]
        for state in (project_sweep(metadata, states), *states):
            writer.write(state)
    with serve(root) as printed:
        yield printed


def test_the_link_opens_the_newest_sweeps_trials_best_first(page, link, screenshot):
    page.goto(link)
    page.get_by_role("columnheader", name="best_objective").first.wait_for()
    page.get_by_role("link", name="trial 299").first.wait_for()
    names = [name for name in page.get_by_role("link", name=re.compile("^trial ")).all_inner_texts() if " " in name]
    assert names[0] == "trial 299"
    assert len(names) > 10
    page.get_by_text("0.9", exact=True).first.wait_for()
    screenshot("many-trials")


def test_the_chart_view_has_its_parallel_coordinates(page, link, screenshot):
    page.goto(f"{link}&compareRunsMode=CHART")
    page.get_by_text("Parallel Coordinates").wait_for()
    page.get_by_text("best/dim_64/map_at_100", exact=True).first.wait_for()
    page.wait_for_timeout(3000)  # the lines are drawn on a canvas: there is no element to wait for
    screenshot("many-charts")


def test_all_sweeps_are_one_row_each(page, link, screenshot):
    address, _, fragment = link.partition("#")
    experiment = re.search(r"experiments/(\d+)", fragment)[1]
    page.goto(link)
    page.goto(f"{address}#/experiments/{experiment}/runs?workflowType=machine_learning")
    page.get_by_role("link", name=re.compile("^sweep ")).first.wait_for()
    assert page.get_by_role("link", name=re.compile("^trial ")).count() == 0
    assert page.get_by_role("link", name=re.compile(r"^sweep \d+$")).count() >= 10
    screenshot("many-sweeps")
