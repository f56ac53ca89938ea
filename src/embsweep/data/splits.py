"""Split of a collection into training, validation and test by passage group.

No passage is relevant to queries of two sides, unless the source itself fixes a side. The same groups are dealt into
folds for cross-validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from embsweep.config.data import SplitConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.names import OTHER_SLICES
from embsweep.data.collection import TEST, VALIDATION, Collection, RetrievalSet, Splits
from embsweep.data.groups import Group, cap_groups, compute_split_fingerprint, find_groups
from embsweep.data.slices import merge_rare_slices
from embsweep.data.training_rows import fill_negatives, list_training_rows

TRAIN = "train"


@dataclass(frozen=True)
class Selection:
    """Groups of a collection that are split, and those that the source puts on a side.

    `pool` are the groups to split and `fixed` those of each fixed side; `all_pool` and `all_fixed` are the same before
    `max_pairs`. `corpus` holds the sorted numbers of the passages of the corpus.
    """

    all_pool: list[Group]
    all_fixed: dict[str, list[Group]]
    pool: list[Group]
    fixed: dict[str, list[Group]]
    corpus: Sequence[int]

    @property
    def groups(self) -> list[Group]:
        """All groups before `max_pairs`."""
        return [*self.all_pool, *(group for groups in self.all_fixed.values() for group in groups)]

    @property
    def kept(self) -> list[Group]:
        """All groups that `max_pairs` keeps."""
        return [*self.pool, *(group for groups in self.fixed.values() for group in groups)]


def assign_sides(
    groups: Sequence[Group], config: SplitConfig, fixed: Mapping[str, list[Group]] | None = None
) -> dict[str, list[Group]]:
    """Assign at least three groups to the three sides, and return side → groups; no side is empty.

    Each group in turn goes to test if it fits into the remaining capacity of test, else to validation on the same
    condition, else to training. So a held-out side misses its share of the queries by less than the size of the
    smallest group outside it. An empty side then gets the smallest group of the side with the most groups.

    Args:
        groups: Groups to assign; one for each side that is not fixed suffices.
        config: Fractions of the sides that are not fixed.
        fixed: Groups of the sides that the source fixes.
    """
    fixed = fixed or {}
    total = sum(len(group.queries) for group in groups)
    fractions = {TEST: config.test, VALIDATION: config.validation}
    capacity = {side: max(1, round(total * share)) for side, share in fractions.items() if side not in fixed}
    sides: dict[str, list[Group]] = {**{side: [] for side in capacity}, TRAIN: []}
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
    return sides | {side: list(groups) for side, groups in fixed.items()}


def assign_folds(groups: Sequence[Group], count: int) -> list[list[Group]]:
    """Deal whole groups into `count` folds: largest group first, each to the fold with the fewest queries."""
    folds: list[list[Group]] = [[] for _ in range(count)]
    held = [0] * count
    for group in sorted(groups, key=lambda group: -len(group.queries)):
        smallest = held.index(min(held))
        folds[smallest].append(group)
        held[smallest] += len(group.queries)
    return folds


def describe_deviation(sides: dict[str, list[Group]], config: SplitConfig, fixed: Iterable[str] = ()) -> list[str]:
    """Return one line per held-out side whose share of the queries is far (over 20 %) from the configured one.

    Queries of `fixed` sides are not counted.
    """
    counts = {side: sum(len(group.queries) for group in groups) for side, groups in sides.items() if side not in fixed}
    total = sum(counts.values())
    return [
        f"{side} holds {counts[side]:,} of {total:,} queries ({counts[side] / total:.0%}): {fraction:.0%} requested; "
        "passage groups are not divided"
        for side, fraction in ((VALIDATION, config.validation), (TEST, config.test))
        if side in counts and abs(counts[side] - total * fraction) > max(1.0, total * fraction * 0.2)
    ]


def split_collection(collection: Collection, config: SplitConfig, max_pairs: int | None) -> Splits:
    """Split a collection into training, validation and test; passage groups stay whole.

    The split depends on the seed and the texts, not on the order of the source's rows. Queries whose side the source
    fixes stay there. The corpus is every distinct passage; if `max_pairs` leaves groups out, it is the passages of the
    kept rows, hard negatives included. Hard negatives that are relevant to a held-out query
    are left out and counted in `notes`; of triplets the whole row.

    Args:
        collection: Collection to split.
        config: Seed, and the fractions of the queries for validation and test.
        max_pairs: Maximum number of rows to keep, None for all.

    Raises:
        InputError: If there are too few groups (three, if no side is fixed), or no training row is left.
    """
    selection = _select(collection, config.seed, max_pairs)
    _require_enough(collection, selection, max_pairs)
    sides = assign_sides(selection.pool, config, selection.fixed)
    notes = [*_describe_reading(collection, selection), *describe_deviation(sides, config, selection.fixed)]
    return _build_splits(collection, sides, selection, notes)


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
        InputError: If the source fixes the validation side, there are fewer than three groups, fewer groups outside
            test than folds, or a fold leaves no training row.
    """
    selection = _select(collection, config.seed, max_pairs)
    if VALIDATION in selection.fixed:
        problem = "cross-validation would train on the validation queries that the data set itself has"
        raise InputError(Diagnostic("conflict", "confirm.folds", problem, count, "null", "confirm=standard"))
    _require_enough(collection, selection, max_pairs)
    sides = assign_sides(selection.pool, config, selection.fixed)
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
        _build_splits(collection, {**sides, VALIDATION: fold, TRAIN: [g for g in pool if g not in fold]}, selection, [])
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
        The retrieval set, and lines about how the source was read and what was merged or left out.

    Raises:
        InputError: If every passage group is larger than `max_pairs`.
    """
    selection = _select(collection, seed, max_pairs)
    if not selection.kept:
        raise InputError(
            Diagnostic("too-few-groups", "data.max_pairs", "is smaller than every passage group", max_pairs)
        )
    notes = (*collection.reading, *_describe_reading(collection, selection))
    return _build_set(collection, None, _list_queries(selection.kept), selection.corpus), notes


def _select(collection: Collection, seed: int, max_pairs: int | None) -> Selection:
    """Group the queries of every side that the source fixes, and all others; keep `max_pairs` rows, a share of each."""
    pool = find_groups(collection, seed)
    fixed = {
        side: find_groups(collection, seed, side) for side in (VALIDATION, TEST) if side in collection.sides.values()
    }
    rows = {side: sum(group.rows for group in groups) for side, groups in {"": pool, **fixed}.items()}
    total = max(1, sum(rows.values()))
    caps = {
        side: None if max_pairs is None or total <= max_pairs else max(1, max_pairs * count // total)
        for side, count in rows.items()
    }
    kept_pool = cap_groups(pool, caps[""])
    kept_fixed = {side: cap_groups(groups, caps[side]) for side, groups in fixed.items()}
    selection = Selection(pool, fixed, kept_pool, kept_fixed, range(len(collection.passages)))
    if len(selection.kept) == len(selection.groups):
        return selection
    queries = set(_list_queries(selection.kept))
    kept_rows = [row for row in collection.judgements if row.query in queries]
    named = {row.passage for row in kept_rows} | {negative for row in kept_rows for negative in row.negatives}
    return Selection(pool, fixed, kept_pool, kept_fixed, sorted(named))


def _build_splits(
    collection: Collection, sides: Mapping[str, Iterable[Group]], selection: Selection, notes: list[str]
) -> Splits:
    held_out = _list_queries([*sides[VALIDATION], *sides[TEST]])
    rows, counts = list_training_rows(collection, _list_queries(sides[TRAIN]), held_out)
    if not rows:
        raise InputError(
            Diagnostic(
                "too-few-pairs", "data.split", "no training row is left: every hard negative answers a held-out query"
            )
        )
    train, filled = fill_negatives(collection, rows)
    validation = _build_set(collection, VALIDATION, _list_queries(sides[VALIDATION]), selection.corpus)
    test = _build_set(collection, TEST, _list_queries(sides[TEST]), selection.corpus)
    slices, merged = merge_rare_slices(test.slices)
    test, reading = replace(test, slices=slices), list(collection.reading)
    if merged:
        reading.append(f"the {merged:,} smallest slices of the test queries are one, {OTHER_SLICES}")
    notes = [*notes, *(f"{what}: {count:,}" for what, count in {**counts, **filled}.items() if count)]
    fingerprint = compute_split_fingerprint(train, (validation, test), validation.corpus)
    fixed = tuple(selection.fixed)
    return Splits(collection.name, fingerprint, train, validation, test, tuple(notes), tuple(reading), fixed)


def _require_enough(collection: Collection, selection: Selection, max_pairs: int | None) -> None:
    groups, kept = selection.all_pool, selection.pool
    sides = [TRAIN, *(side for side in (VALIDATION, TEST) if side not in selection.fixed)]
    empty = [side for side, found in selection.fixed.items() if not found]
    least = len(sides)
    if len(kept) >= least and not empty:
        return
    if len(groups) >= least:
        needed = sum(sorted(group.rows for group in groups)[:least])
        problem = f"leaves {len(kept)} of {len(groups):,} passage groups; a three-way split takes at least 3"
        if least < 3:
            problem = f"leaves {len(kept)} of {len(groups):,} passage groups for {' and '.join(sides)}"
        raise InputError(
            Diagnostic(
                "too-few-groups", "data.max_pairs", problem, max_pairs, f"at least {needed:,}, better a few hundred"
            )
        )
    total = sum(len(group.queries) for group in groups)
    largest = max((len(group.queries) for group in groups), default=0)
    wanted = "training, validation and test" if least == 3 else " and ".join(sides)
    problem = (
        f"{len(groups)} passage group(s), the largest with {largest:,} of {total:,} queries on "
        f"{len(collection.passages):,} passages: too few for {wanted} without a shared passage"
    )
    hint = "add passages, or find the passage that is relevant to nearly all queries"
    raise InputError(
        Diagnostic("too-few-groups", "data.split", problem, expected=f"at least {least} groups, better 100", hint=hint)
    )


def _list_queries(groups: Iterable[Group]) -> list[int]:
    return sorted(query for group in groups for query in group.queries)


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
        tuple(collection.slices[query] for query in requested) if collection.slices else (),
    )


def _describe_reading(collection: Collection, selection: Selection) -> Iterator[str]:
    yield from (f"{what}: {count:,}" for what, count in collection.merged)
    groups, kept = selection.groups, selection.kept
    if len(kept) < len(groups):
        rows, all_rows = sum(group.rows for group in kept), sum(group.rows for group in groups)
        yield (
            f"max_pairs kept {rows:,} of {all_rows:,} pairs in {len(kept):,} of {len(groups):,} passage groups; "
            f"the corpus holds only their {len(selection.corpus):,} of {len(collection.passages):,} passages"
        )
