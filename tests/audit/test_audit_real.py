"""The audit of a real set with several queries per passage."""

import pytest
from tests.texts import numbers_in

from embsweep.config.data import BeirConfig, SplitConfig
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection


@pytest.fixture
def xquad(shared_data, tmp_path):
    config = BeirConfig(
        kind="beir", path=str(shared_data / "xquad_de"), split=SplitConfig(seed=13, validation=0.1, test=0.1)
    )
    return split_collection(load_collection(config, tmp_path), config.split, None)


@pytest.mark.slow
def test_xquad_de(audit, xquad):
    report = audit(xquad, batch_sampler="batch_sampler")
    assert report.of("error") == ()
    assert {finding.name for finding in report.of("warning")} == {"few-held-out-queries", "in-batch-false-negatives"}
    assert report.figures.languages.queries["de"] > 900
    assert max(report.figures.structure.queries_per_passage) == 17
    reading = report.figures.readings[0]
    assert reading.right["map@100"] == pytest.approx(0.90, abs=0.02)
    assert reading.right["map@100"] - reading.naive["map@100"] > 0.4
    assert reading.naive["accuracy@1"] == pytest.approx(240 / 1181, abs=0.05)  # one row of each passage is first
    (note,) = [finding for finding in report.findings if finding.name == "naive-evaluation"]
    assert round(reading.naive["map@100"], 3) in numbers_in(note.message)


@pytest.mark.slow
def test_xquad_de_has_no_passage_on_two_sides(xquad):
    sides = [{pair.positive for pair in xquad.train}]
    sides += [{side.corpus[p] for row in side.relevant for p in row} for side in (xquad.validation, xquad.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 240
