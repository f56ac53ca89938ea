"""Fixtures that audit splits given as values."""

import pytest
from made_up import ABSENT, TRAIN

from embsweep.audit.run import audit_data
from embsweep.config.sweep import AuditConfig
from embsweep.data.collection import Collection


@pytest.fixture
def audit():
    """Return a function: audit(splits, merged=(), waive=(), model=ABSENT, batch_size=16) → report."""

    def run(splits, *, merged=(), waive=(), model=ABSENT, **train):
        collection = Collection(splits.name, (), (), (), tuple(merged))
        config = AuditConfig(waive=waive, near_duplicate_similarity=0.8)
        return audit_data(collection, splits, config=config, model=model, train=TRAIN.model_copy(update=train))

    return run


@pytest.fixture
def findings_of(audit):
    """Return a function: findings_of(splits, …) → {name: finding}; the test fails if a name occurs twice."""

    def run(splits, **options):
        findings = audit(splits, **options).findings
        by_name = {finding.name: finding for finding in findings}
        assert len(by_name) == len(findings)
        return by_name

    return run
