"""The version of an alias, in a simulated registry: every order of versions."""

from types import SimpleNamespace

import pytest

from embsweep.tracking.registry.aliases import remove_stale_challenger
from embsweep.tracking.registry.files import EVIDENCE_TAG
from embsweep.tracking.registry.logged_model import CHECKPOINT_TAG
from embsweep.tracking.registry.register import PROMOTED_TAG, _delete_duplicates, _find_versions, _set_challenger


class Registry:
    """The calls of an MLflow client on one registered model."""

    def __init__(self, versions=(), **aliases):
        self.aliases = {alias: str(version) for alias, version in aliases.items()}
        self.versions = list(versions)

    @property
    def client(self):
        return self

    def get_registered_model(self, name):
        return SimpleNamespace(name=name, aliases=dict(self.aliases))

    def set_registered_model_alias(self, name, alias, version):
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name, alias):
        del self.aliases[alias]

    def search_model_versions(self, filter_string):
        return list(self.versions)

    def delete_model_version(self, name, version):
        self.versions = [found for found in self.versions if found.version != version]


def version(number, *, aliases=(), **tags):
    return SimpleNamespace(version=str(number), aliases=list(aliases), tags=tags)


@pytest.mark.parametrize(
    ("aliases", "number", "is_set"),
    [
        ({}, 1, True),
        ({"challenger": 2}, 3, True),
        ({"challenger": 2}, 1, False),
        ({"champion": 2}, 3, True),
        ({"champion": 2}, 1, False),
        ({"challenger": 2, "champion": 5}, 3, False),
        ({"challenger": 5, "champion": 2}, 3, False),
        ({"challenger": 2, "champion": 5}, 6, True),
        ({"challenger": 5, "champion": 2}, 6, True),
        ({"challenger": 9, "champion": 2}, 10, True),
        ({"challenger": 10, "champion": 2}, 9, False),
        ({"stale": 9}, 1, True),
    ],
)
def test_the_newest_version_is_challenger_unless_a_later_one_is_or_is_champion(aliases, number, is_set):
    registry = Registry(**aliases)
    _set_challenger(registry, "m", version(number))
    before = {alias: str(found) for alias, found in aliases.items()}
    assert registry.aliases == (before | {"challenger": str(number)} if is_set else before)


def test_a_former_champion_is_not_made_challenger_again():
    registry = Registry(challenger=2)
    _set_challenger(registry, "m", version(3, **{PROMOTED_TAG: "then"}))
    assert registry.aliases == {"challenger": "2"}


@pytest.mark.parametrize(
    ("aliases", "remaining"),
    [
        ({"challenger": 3, "champion": 3}, {"champion": "3"}),
        ({"challenger": 4, "champion": 3}, {"challenger": "4", "champion": "3"}),
        ({"challenger": 3}, {"challenger": "3"}),
        ({"champion": 3}, {"champion": "3"}),
        ({}, {}),
    ],
)
def test_a_champion_is_no_challenger(aliases, remaining):
    registry = Registry(**aliases)
    remove_stale_challenger(registry, "m")
    assert registry.aliases == remaining


MARKS = {
    "embsweep.sweep": "legal",
    "embsweep.study": "a1",
    CHECKPOINT_TAG: "c0ffee",
    EVIDENCE_TAG: "e5",
    "embsweep.other": "x",
}


def test_versions_are_the_same_if_sweep_study_checkpoint_and_evidence_match():
    same = {name: MARKS[name] for name in ("embsweep.sweep", "embsweep.study", CHECKPOINT_TAG, EVIDENCE_TAG)}
    others = [version(number, **{**same, name: "another"}) for number, name in enumerate(same, start=20)]
    registry = Registry([version(10, **same), *others, version(9, **same, **{"embsweep.other": "y"})])
    assert [found.version for found in _find_versions(registry, "m", MARKS)] == ["9", "10"]


def test_duplicates_are_deleted_except_current_and_former_champions():
    copies = [
        version(2, **MARKS),
        version(3, aliases=["champion"], **MARKS),
        version(4, **{**MARKS, PROMOTED_TAG: "then"}),
        version(5, **MARKS),
        version(6, **{**MARKS, "embsweep.study": "b2"}),
    ]
    registry = Registry(copies)
    assert _delete_duplicates(registry, "m", MARKS).version == "2"
    assert [found.version for found in registry.versions] == ["2", "3", "4", "6"]
