"""The audit of splits given as values."""

import pytest
from made_up import ABSENT, TRAIN

from embsweep.audit.run import audit_data
from embsweep.config.sweep import AuditConfig
from embsweep.data.collection import Collection


@pytest.fixture
def audit():
    """audit(splits, merged=(), waive=(), model=ABSENT, batch_size=16) → report."""

    def run(splits, *, merged=(), waive=(), model=ABSENT, **train):
        collection = Collection(splits.name, (), (), (), tuple(merged))
        config = AuditConfig(waive=waive, near_duplicate_similarity=0.8)
        return audit_data(collection, splits, config=config, model=model, train=TRAIN.model_copy(update=train))

    return run


@pytest.fixture
def found(audit):
    """found(splits, …) → {name: finding}; a name that is found twice fails the test."""

    def run(splits, **options):
        findings = audit(splits, **options).findings
        by_name = {finding.name: finding for finding in findings}
        assert len(by_name) == len(findings)
        return by_name

    return run
