"""Paired samples: libraries take turns, so that what is compared was measured at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from bench.libraries import JUDGED
from squeezeops.benchmark.measure import Quartiles, Sample, quartiles

LONG = 0.2  # seconds; a longer call needs fewer pairs
PAIRS, PAIRS_LONG = 200, 30
PATIENCE = 2  # rounds at most, as a multiple of the wanted pairs


class Ratio(NamedTuple):
    """A peer's time / ours, over the rounds in which both samples were accepted."""

    quartiles: Quartiles | None  # None if no pair was accepted
    pairs: int  # accepted
    dropped: float  # share of pairs that were not accepted


def wanted_pairs(seconds: float) -> int:
    """Return how many accepted pairs are enough for a call of that duration."""
    return PAIRS_LONG if seconds > LONG else PAIRS


def take_rounds(
    takers: dict[str, Callable[[], Sample]],
    ours: str,
    wanted: int,
    limit: float = float("inf"),
    between: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[Sample]]:
    """Take one sample from each taker per round, after a call of `between`. The first taker of a round rotates.

    Stops when each peer has `wanted` accepted pairs with `ours`, after `PATIENCE` times as many rounds, or after
    `limit` seconds. There is always one round. If `ours` is the only taker, its accepted samples count.
    """
    names = list(takers)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    begin = clock()
    for number in range(PATIENCE * wanted):
        if number and (_enough(samples, ours, wanted) or clock() - begin > limit):
            break
        between()
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(takers[name]())
    return samples


def _enough(samples: dict[str, list[Sample]], ours: str, wanted: int) -> bool:
    peers = [taken for name, taken in samples.items() if name != ours] or [samples[ours]]
    return all(len(_accepted(samples[ours], taken)) >= wanted for taken in peers)


def _accepted(ours: Sequence[Sample], peer: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    return [(a, b) for a, b in zip(ours, peer, strict=True) if a.accepted and b.accepted]


def ratio(ours: Sequence[Sample], peer: Sequence[Sample]) -> Ratio:
    """Compare samples of the same rounds."""
    pairs = _accepted(ours, peer)
    ratios = [theirs.seconds / mine.seconds for mine, theirs in pairs]
    return Ratio(quartiles(ratios), len(pairs), 1 - len(pairs) / len(ours) if ours else 0.0)


def over_floor(samples: Sequence[Sample], work: float, moved: float, read: float) -> Quartiles | None:
    """Return time / floor of the accepted samples.

    The floor is the longer of reading `moved` bytes at `read` per second, and `work` operations at the sample's peak.
    """
    floors = [(s, max(moved / read, work / s.peak)) for s in samples if s.accepted and s.peak]
    return quartiles([s.seconds / floor for s, floor in floors])


def best_peer(ratios: dict[str, Any], among: Collection[str] = JUDGED) -> str | None:
    """Return the peer with the lowest median ratio. Copies, our own kernels and other precisions are not peers."""
    known = {
        name: found["quartiles"]["median"] for name, found in ratios.items() if found["quartiles"] and name in among
    }
    return min(known, key=lambda name: known[name]) if known else None
