"""Models and sets that a test can work out by hand."""

from tests.training.conftest import shared_set, table_model, word_set  # noqa: F401 - fixtures
