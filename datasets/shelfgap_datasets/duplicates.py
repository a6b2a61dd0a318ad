"""Near-duplicate pictures: a search that does not compare all pairs, and the groups that it joins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from shelfgap_datasets.fingerprint import HASH_BITS, Fingerprints
from shelfgap_datasets.params import DuplicateParams

Pairs = NDArray[np.int64]
_BATCH = 1 << 21  # candidates compared at a time; bounds the memory


def near_pairs(prints: Fingerprints, params: DuplicateParams) -> Iterator[Pairs]:
    """Yield pairs of near-duplicates, int64 (K, 2), in no order and some of them twice.

    Two pictures are near-duplicates when their whole hashes, one of them mirrored or not, differ in few bits; or,
    where one of the two was turned, the hashes of their upright middles. Of pictures with equal whole hashes each is
    paired with the first only, so the pairs link all near-duplicates but do not list all pairs of them.
    """
    rows = np.arange(len(prints.whole))
    _, first, inverse = np.unique(prints.whole[:, 0], return_index=True, return_inverse=True)
    twins = np.stack([first[inverse], rows], 1)
    yield twins[twins[:, 0] != twins[:, 1]]
    for ones, others in _search(prints.whole[first, 0], prints.whole[first], params.max_hash_distance):
        pairs = np.stack([first[ones], first[others]], 1)
        yield pairs[pairs[:, 0] != pairs[:, 1]]
    turned = np.flatnonzero(prints.is_turned)
    for ones, others in _search(prints.centre[:, 0], prints.centre[turned], params.max_turned_distance):
        pairs = np.stack([turned[ones], others], 1)
        yield pairs[pairs[:, 0] != pairs[:, 1]]


def join_groups(count: int, links: Iterable[Pairs]) -> NDArray[np.int64]:
    """Return for each of `count` items the lowest number among the items it is linked to, directly or not.

    >>> join_groups(4, [np.array([[1, 2]]), np.array([[2, 3]])]).tolist()
    [0, 1, 1, 1]
    """
    lowest = np.arange(count)
    for pairs in links:
        if not len(pairs):
            continue
        ones, others = lowest[pairs[:, 0]], lowest[pairs[:, 1]]
        graph = coo_array((np.ones(len(pairs), np.bool_), (ones, others)), shape=(count, count))
        _, labels = connected_components(graph, directed=False)
        least = np.full(labels.max() + 1, count)
        np.minimum.at(least, labels, np.arange(count))
        lowest = least[labels][lowest]
    return lowest


def _search(
    keys: NDArray[np.uint64], queries: NDArray[np.uint64], max_distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (query row, key row) of queries (M, 2) and keys (N,) that differ in at most `max_distance` bits.

    The bits are cut into d // 2 + 1 bands. Two hashes that differ in at most d bits differ in at most one bit of some
    band; so each query looks, band by band, at the keys that share its band but for one bit.

    Source: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing" (CVPR 2012).
    """
    edges = np.linspace(0, HASH_BITS, max_distance // 2 + 2).round().astype(int)
    for low, high in pairwise(edges.tolist()):
        mask = np.uint64((1 << (high - low)) - 1)
        bands = (keys >> np.uint64(low)) & mask
        order = np.argsort(bands, kind="stable")
        bands = bands[order]
        flips = [0, *((1 << bit) for bit in range(high - low))] if max_distance else [0]
        for side in range(queries.shape[1]):
            asked = (queries[:, side] >> np.uint64(low)) & mask
            for flip in flips:
                wanted = asked ^ np.uint64(flip)
                start = np.searchsorted(bands, wanted, "left")
                counts = np.searchsorted(bands, wanted, "right") - start
                for part in _batches(counts):
                    ones = np.repeat(np.arange(part.start, part.stop), counts[part])
                    ends = np.cumsum(counts[part])
                    within = np.arange(len(ones)) - np.repeat(ends - counts[part], counts[part])
                    others = order[np.repeat(start[part], counts[part]) + within]
                    near = np.bitwise_count(keys[others] ^ queries[ones, side]) <= max_distance
                    yield ones[near], others[near]


def _batches(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows into runs whose counts add up to about `_BATCH`."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _BATCH, "right")))
        yield slice(start, stop)
        start = stop
