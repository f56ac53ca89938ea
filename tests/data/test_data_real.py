"""Real retrieval sets, if present, and the built-in one at full size."""

from __future__ import annotations

import pytest

from embsweep.config.data import DocstringsConfig
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import as_retrieval_set, split_collection

SETS = [  # name, passages, distinct queries, queries in the file
    ("xquad_de", 240, 1181, 1190),
    ("xquad_es", 240, 1184, 1190),
    ("de_tax_pension_law", 1283, 1177, 1177),
    ("es_ar_civil_code", 2391, 1560, 1560),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "passages", "queries", "rows"), SETS)
def test_a_real_set_is_read_fully_and_split_without_a_shared_passage(real_set, tmp_path, name, passages, queries, rows):
    config = real_set(name)
    collection = load_collection(config, tmp_path)
    assert (collection.name, len(collection.passages), len(collection.queries)) == (name, passages, queries)
    assert dict(collection.merged).get("duplicate queries", 0) == rows - queries
    splits = split_collection(collection, config.split, config.max_pairs)
    sides = [{pair.positive for pair in splits.train}]
    sides += [{s.corpus[p] for positions in s.relevant for p in positions} for s in (splits.validation, splits.test)]
    assert sum(map(len, sides)) == len(set().union(*sides))
    assert splits.test.corpus == tuple(sorted(collection.passages))
    for side in (splits.validation, splits.test):
        assert abs(len(side.queries) - 0.1 * queries) < 1
    assert len(splits.train) + len(splits.validation.queries) + len(splits.test.queries) == queries
    assert as_retrieval_set(collection)[0].queries == tuple(sorted(collection.queries))


@pytest.mark.nightly
def test_the_built_in_set_has_about_9500_queries(tmp_path, split_config):
    packages = ("stdlib", "numpy", "scipy", "pandas", "sklearn", "torch")
    config = DocstringsConfig(kind="docstrings", packages=packages, split=split_config)
    collection = load_collection(config, tmp_path)
    assert 8_500 < len(collection.queries) < 11_500
    assert load_collection(config, tmp_path) == collection
    splits = split_collection(collection, split_config, None)
    assert len(splits.test.queries) == pytest.approx(len(collection.queries) / 10, rel=0.02)
