"""Paired samples: libraries take turns, and what is compared was measured within the same moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from bench.libraries import ALL_PEERS
from squeezeops.benchmark.measure import Quartiles, Sample, quartiles

__all__ = ["Ratio", "as_dict", "best_peer", "over_floor", "ratio", "shares", "take_rounds", "wanted_pairs"]

LONG = 0.2  # seconds of a forward; it need not be repeated so often
PAIRS, PAIRS_LONG = 200, 30
PATIENCE = 2  # times the rounds that would be enough if all samples were accepted


class Ratio(NamedTuple):
    """A peer's time in ours, over the rounds in which both samples were accepted.

    Attributes
    ----------
    quartiles : Quartiles, or None if no pair was accepted
    pairs : int
        Accepted.
    dropped : float
        The share of pairs that were not.
    """

    quartiles: Quartiles | None
    pairs: int
    dropped: float


def wanted_pairs(seconds: float) -> int:
    """How many accepted pairs are enough for a call that takes so long."""
    return PAIRS_LONG if seconds > LONG else PAIRS


def take_rounds(
    takers: dict[str, Callable[[], Sample]],
    ours: str,
    wanted: int,
    limit: float = float("inf"),
    between: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list[Sample]]:
    """Let each taker give a sample in turn, round after round; who begins moves on by one each time.

    Ends when each peer has `wanted` accepted pairs with `ours`, after `PATIENCE` times as many rounds, or after `limit`
    seconds, but not before the first round.

    Parameters
    ----------
    takers : dict of str to callable
    ours : str
        One of them; if it is alone, its accepted samples count.
    wanted : int
    limit : float
    between : callable, optional
        Called before each round.
    clock : callable, optional

    Returns
    -------
    dict of str to list of Sample
        A sample of each for every round.
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
    """Compare samples of the same rounds: how many times as long the peer took."""
    pairs = _accepted(ours, peer)
    ratios = [theirs.seconds / mine.seconds for mine, theirs in pairs]
    return Ratio(quartiles(ratios), len(pairs), 1 - len(pairs) / len(ours) if ours else 0.0)


def shares(samples: Sequence[Sample], work: float) -> Quartiles | None:
    """What part of the peak around each accepted sample its rate is; `work` in operations."""
    return quartiles([work / s.seconds / s.peak for s in samples if s.accepted and s.peak])


def over_floor(samples: Sequence[Sample], work: float, moved: float, read: float) -> Quartiles | None:
    """How many times as long each accepted sample took as its floor.

    The floor is the longer of reading `moved` bytes, `read` a second, and of `work` operations at the peak around it.
    """
    floors = [(s, max(moved / read, work / s.peak)) for s in samples if s.accepted and s.peak]
    return quartiles([s.seconds / floor for s, floor in floors])


def best_peer(ratios: dict[str, Any], among: Collection[str] = ALL_PEERS) -> str | None:
    """The peer with the lowest median ratio; the copies and kernels of our own are no peers."""
    known = {
        name: found["quartiles"]["median"] for name, found in ratios.items() if found["quartiles"] and name in among
    }
    return min(known, key=lambda name: known[name]) if known else None


def as_dict(value: Any) -> Any:
    """Quartiles and ratios as dictionaries, for JSON."""
    if hasattr(value, "_asdict"):
        return {key: as_dict(item) for key, item in value._asdict().items()}
    return value
