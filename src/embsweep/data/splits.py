"""Split of a collection into training, validation and test by passage group.

No passage is relevant to queries of two sides. The same groups are dealt into folds for cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from embsweep.config.data import SplitConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, Pair, RetrievalSet, Splits
from embsweep.data.groups import Group, cap_groups, compute_split_fingerprint, find_groups

TEST, VALIDATION, TRAIN = "test", "validation", "train"


def assign_sides(groups: Sequence[Group], config: SplitConfig) -> dict[str, list[Group]]:
    """Assign at least three groups to the three sides, and return side → groups; no side is empty.

    Each group in turn goes to test if it fits into the remaining capacity of test, else to validation on the same
    condition, else to training. So a held-out side misses its share of the queries by less than the size of the
    smallest group outside it. An empty side then gets the smallest group of the side with the most groups.
    """
    total = sum(len(group.queries) for group in groups)
    capacity = {TEST: max(1, round(total * config.test)), VALIDATION: max(1, round(total * config.validation))}
    sides: dict[str, list[Group]] = {TEST: [], VALIDATION: [], TRAIN: []}
    for group in groups:
        side = next((side for side, left in capacity.items() if len(group.queries) <= left), TRAIN)
        sides[side].append(group)
        if side in capacity:
            capacity[side] -= len(group.queries)
    for empty in (groups for groups in sides.values() if not groups):
        donor = max(sides.values(), key=len)
        smallest = min(donor, key=lambda group: len(group.queries))
        donor.remove(smallest)
        empty.append(smallest)
    return sides


def assign_folds(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Deal whole groups into `count` folds: largest group first, each to the fold with the fewest queries."""
    folds: list[list[Group]] = [[] for _ in range(count)]
    held = [0] * count
    for group in sorted(groups, key=lambda group: -len(group.queries)):
        smallest = held.index(min(held))
        folds[smallest].append(group)
        held[smallest] += len(group.queries)
    return folds


def describe_deviation(sides: dict[str, list[Group]], config: SplitConfig) -> list[str]:
    """Return one line per held-out side whose share of the queries is far (over 20 %) from the configured one."""
    counts = {side: sum(len(group.queries) for group in groups) for side, groups in sides.items()}
    total = sum(counts.values())
    return [
        f"{side} holds {counts[side]:,} of {total:,} queries ({counts[side] / total:.0%}): {fraction:.0%} requested; "
        "passage groups are not divided"
        for side, fraction in ((VALIDATION, config.validation), (TEST, config.test))
        if abs(counts[side] - total * fraction) > max(1.0, total * fraction * 0.2)
    ]


def split_collection(collection: Collection, config: SplitConfig, max_pairs: int | None) -> Splits:
    """Split a collection into training, validation and test; passage groups stay whole.

    The split depends on the seed and the texts, not on the order of the source's rows. The corpus is every distinct
    passage; if `max_pairs` leaves groups out, it is the passages of the kept rows, hard negatives included. A training
    row whose hard negative is relevant to a held-out query is left out and counted in `notes`.

    Args:
        collection: Collection to split.
        config: Seed, and the fractions of the queries for validation and test.
        max_pairs: Maximum number of rows to keep, None for all.

    Raises:
        InputError: If there are fewer than three groups, or no training row is left.
    """
    groups, kept, corpus = _select(collection, config.seed, max_pairs)
    _require_enough(collection, groups, kept, max_pairs)
    sides = assign_sides(kept, config)
    notes = _describe_reading(collection, groups, kept, corpus)
    return _build_splits(collection, sides, corpus, [*notes, *describe_deviation(sides, config)])


def split_folds(collection: Collection, config: SplitConfig, max_pairs: int | None, count: int) -> tuple[Splits, ...]:
    """Split for cross-validation: `count` folds over the training and validation sides of `split_collection`.

    Each fold is the validation side of one split. Passage groups stay whole, and the folds have about the same number
    of queries. Test side and corpus are those of `split_collection`.

    Args:
        collection: Collection to split.
        config: Seed, and the fractions of the queries for validation and test.
        max_pairs: Maximum number of rows to keep, None for all.
        count: Number of folds.

    Raises:
        InputError: If there are fewer than three groups, fewer groups outside test than folds, or a fold leaves no
            training row.
    """
    groups, kept, corpus = _select(collection, config.seed, max_pairs)
    _require_enough(collection, groups, kept, max_pairs)
    sides = assign_sides(kept, config)
    pool = [*sides[VALIDATION], *sides[TRAIN]]
    if len(pool) < count:
        raise InputError(
            Diagnostic(
                "too-few-groups",
                "confirm.folds",
                f"more folds than the {len(pool)} passage groups outside test",
                count,
                f"2 to {len(pool)}, or null",
            )
        )
    return tuple(
        _build_splits(collection, {**sides, VALIDATION: fold, TRAIN: [g for g in pool if g not in fold]}, corpus, [])
        for fold in map(frozenset, assign_folds(pool, count))
    )


def as_retrieval_set(
    collection: Collection, seed: int = 0, max_pairs: int | None = None
) -> tuple[RetrievalSet, tuple[str, ...]]:
    """Build one retrieval set of all judged queries, without a split.

    Args:
        collection: Collection to evaluate on.
        seed: Seed of the order in which `max_pairs` takes the groups, as in `split_collection`.
        max_pairs: Maximum number of rows to keep, in whole passage groups; the corpus is then only their passages. None
            for all rows and every passage.

    Returns:
        The retrieval set, and one line for each kind of text that was merged or left out.

    Raises:
        InputError: If every passage group is larger than `max_pairs`.
    """
    groups, kept, corpus = _select(collection, seed, max_pairs)
    if not kept:
        raise InputError(
            Diagnostic("too-few-groups", "data.max_pairs", "is smaller than every passage group", max_pairs)
        )
    notes = tuple(_describe_reading(collection, groups, kept, corpus))
    return _build_set(collection, None, _list_queries(kept), corpus), notes


def _select(collection: Collection, seed: int, max_pairs: int | None) -> tuple[list[Group], list[Group], Sequence[int]]:
    """Return all groups, the groups that `max_pairs` keeps, and the sorted numbers of the passages of the corpus."""
    groups = find_groups(collection, seed)
    kept = cap_groups(groups, max_pairs)
    if len(kept) == len(groups):
        return groups, kept, range(len(collection.passages))
    queries = set(_list_queries(kept))
    rows = [row for row in collection.judgements if row.query in queries]
    named = {row.passage for row in rows} | {row.negative for row in rows if row.negative is not None}
    return groups, kept, sorted(named)


def _build_splits(
    collection: Collection, sides: Mapping[str, Iterable[Group]], corpus: Sequence[int], notes: list[str]
) -> Splits:
    train, left_out = _list_train(collection, sides)
    if not train:
        raise InputError(
            Diagnostic(
                "too-few-pairs", "data.split", "no training row is left: every hard negative answers a held-out query"
            )
        )
    validation = _build_set(collection, VALIDATION, _list_queries(sides[VALIDATION]), corpus)
    test = _build_set(collection, TEST, _list_queries(sides[TEST]), corpus)
    if left_out:
        notes = [*notes, f"training rows left out because their hard negative answers a held-out query: {left_out:,}"]
    fingerprint = compute_split_fingerprint(train, (validation, test), validation.corpus)
    return Splits(collection.name, fingerprint, train, validation, test, tuple(notes))


def _require_enough(collection: Collection, groups: list[Group], kept: list[Group], max_pairs: int | None) -> None:
    if len(kept) >= 3:
        return
    if len(groups) >= 3:
        needed = sum(sorted(group.rows for group in groups)[:3])
        problem = f"leaves {len(kept)} of {len(groups):,} passage groups; a three-way split takes at least 3"
        raise InputError(
            Diagnostic(
                "too-few-groups", "data.max_pairs", problem, max_pairs, f"at least {needed:,}, better a few hundred"
            )
        )
    total = sum(len(group.queries) for group in groups)
    largest = max((len(group.queries) for group in groups), default=0)
    problem = (
        f"{len(groups)} passage group(s), the largest with {largest:,} of {total:,} queries on "
        f"{len(collection.passages):,} passages: too few for training, validation and test without a shared passage"
    )
    hint = "add passages, or find the passage that is relevant to nearly all queries"
    raise InputError(
        Diagnostic("too-few-groups", "data.split", problem, expected="at least 3 groups, better 100", hint=hint)
    )


def _list_queries(groups: Iterable[Group]) -> list[int]:
    return sorted(query for group in groups for query in group.queries)


def _list_train(collection: Collection, sides: Mapping[str, Iterable[Group]]) -> tuple[tuple[Pair, ...], int]:
    """Return the training rows in the order of the judgements, and how many were left out."""
    own = set(_list_queries(sides[TRAIN]))
    held_out = _list_queries([*sides[VALIDATION], *sides[TEST]])
    answers = {passage for query in held_out for passage in collection.relevant[query]}
    rows = [row for row in collection.judgements if row.query in own]
    usable = [row for row in rows if row.negative not in answers]
    pairs = [
        Pair(
            collection.queries[row.query],
            collection.passages[row.passage],
            None if row.negative is None else collection.passages[row.negative],
        )
        for row in usable
    ]
    return tuple(pairs), len(rows) - len(usable)


def _build_set(collection: Collection, side: str | None, queries: list[int], corpus: Sequence[int]) -> RetrievalSet:
    """Build a retrieval set sorted by text, so that it does not depend on the order of the source's rows."""
    requested = sorted(queries, key=lambda query: collection.queries[query])
    ordered_corpus = sorted(corpus, key=lambda passage: collection.passages[passage])
    position = {passage: place for place, passage in enumerate(ordered_corpus)}
    return RetrievalSet(
        f"{collection.name}/{side}" if side else collection.name,
        tuple(collection.queries[query] for query in requested),
        tuple(collection.passages[passage] for passage in ordered_corpus),
        tuple(tuple(sorted(position[passage] for passage in collection.relevant[query])) for query in requested),
    )


def _describe_reading(
    collection: Collection, groups: list[Group], kept: list[Group], corpus: Sequence[int]
) -> Iterator[str]:
    yield from (f"{what}: {count:,}" for what, count in collection.merged)
    if len(kept) < len(groups):
        rows, all_rows = sum(group.rows for group in kept), sum(group.rows for group in groups)
        yield (
            f"max_pairs kept {rows:,} of {all_rows:,} pairs in {len(kept):,} of {len(groups):,} passage groups; "
            f"the corpus holds only their {len(corpus):,} of {len(collection.passages):,} passages"
        )
