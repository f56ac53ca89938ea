"""Fixtures for tests of evaluation: models and retrieval sets whose scores can be computed by hand."""

from tests.training.conftest import shared_set, table_model, word_set  # noqa: F401 - fixtures
