"""What ``squeezeops bench`` prints: ops as a table, JSON or CSV; a forward pass by op; the comparison of two files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from squeezeops.benchmark.cases import describe
from squeezeops.cli import streams

if TYPE_CHECKING:
    from squeezeops.benchmark.compare import Line
    from squeezeops.benchmark.forward import Profile
    from squeezeops.benchmark.measure import Result
    from squeezeops.benchmark.variants import Variant

TABLE = "  {:<8} {:<13} {:<5} {:>12} {:>9} {:>9} {:>9} {:<7} {:>8} {:>9}  {:>12}"
HEADER = TABLE.format("backend", "isa", "dtype", "time", "p25", "median", "p75", "", "of peak", "peak", "accepted")
COUNTS = " {:>13}"  # instructions, cycles

Facts = dict[str, Any]
MeasurePeaks = Callable[[], list[dict[str, Any]]]


def print_groups(form: str, facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    """Print results as they come."""
    {"json": _print_json, "csv": _print_csv, "table": _print_table}[form](facts, peaks, groups)


def _print_report(facts: Facts, more: dict[str, Any], results: Iterable[dict[str, Any]]) -> None:
    """Print one JSON object, with one line per result: the raw samples make long ones."""
    dump = streams.to_json
    fields = "".join(f"{dump(name)}: {dump(value)},\n" for name, value in {"machine": facts, **more}.items())
    print("{" + fields + '"results": [\n' + ",\n".join(map(dump, results)) + "\n]}")


def _print_json(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    before = peaks()
    results = [result.as_dict() for group in groups for result in group]
    _print_report(facts, {"peaks": {"before": before, "after": peaks()}}, results)


def _print_csv(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    import csv
    import sys

    writer = None
    for group in groups:
        for result in group:
            row = {**_flat(result.as_dict()), **facts}
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row, lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
        streams.flush()


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Flatten a result: the quartiles of the rate become rate_p25, rate_median and rate_p75."""
    figures = values.pop("figures")
    del values["raw"]
    values["shape"] = describe(values["shape"])
    for name, value in figures.items():
        if name in ("microseconds", "rate", "share"):
            for quartile in ("p25", "median", "p75"):
                values[f"{name}_{quartile}"] = None if value is None else value[quartile]
        else:
            values[name] = value
    return values


def _print_table(facts: Facts, peaks: MeasurePeaks, groups: Iterable[list[Result]]) -> None:
    _print_machine(facts)
    print(f"instructions and cycles: {facts['counters']}")
    _print_peaks("before", peaks())
    for group in groups:
        first = group[0]
        cold = ", weights in no cache" if first.cold else ""
        print(f"\n{first.op.name} {describe(first.shape)} ({_threads(first.threads)}{cold})")
        print(HEADER + "".join(map(COUNTS.format, first.counts)) + "  kernel")
        for result in group:
            print(_line(result))
        streams.flush()
    print()
    _print_peaks("after", peaks())


def _print_machine(facts: Facts) -> None:
    print(f"{facts['processor']}, {facts['cpus']} CPUs, {facts['platform']}")
    print(f"squeezeops {facts['squeezeops']}, NumPy {facts['numpy']}, Python {facts['python']}")


def _print_peaks(when: str, peaks: list[dict[str, Any]]) -> None:
    for peak in peaks:
        fma, int8 = (", ".join(f"{isa} {rate:.1f}" for isa, rate in peak[kind].items()) for kind in ("fma", "int8"))
        if peak["read"] is None:
            print(f"peak {when}: not measured: no compiled kernels")
        else:
            rates = [*([f"{fma} GFLOP/s"] if fma else []), *([f"int8 {int8} GOP/s"] if int8 else [])]
            print(f"peak {when}, {_threads(peak['threads'])}: {'; '.join(rates)}; reads {peak['read']:.1f} GB/s")
    streams.flush()


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _line(result: Result) -> str:
    f = result.figures
    rate = [f"{value / 1e9:.2f}" for value in f.rate] if f.rate else ["-"] * 3
    line = TABLE.format(
        result.variant.backend,
        result.variant.isa or "-",
        result.op.dtype,
        f"{1e6 * f.seconds.median:.1f} us" if f.seconds else "-",
        *rate,
        result.op.unit,
        f"{f.share.p75:.1%}" if f.share else "-",
        f"{f.peak / 1e9:.1f}" if f.peak else "-",
        f"{f.accepted} of {f.samples}",
    )
    counts = ("-" if n is None else f"{n:.0f}" for n in result.counts.values())
    return line + "".join(map(COUNTS.format, counts)) + f"  {result.kernel}"


# ---- a forward pass by op --------------------------------------------------------------------------------------------

MODEL_TABLE = "  {:<22} {:<36} {:<28} {:>5} {:>11} {:>7}"


class ModelPrinter:
    """Prints profiles as they come, or all of them as JSON at the end."""

    def __init__(self, facts: Facts, model: str, dtype: str, tokens: int, json: bool) -> None:
        self.facts, self.json, self.found = facts, json, list[dict[str, Any]]()
        self.model, self.dtype, self.tokens = model, dtype, tokens
        if not json:
            _print_machine(facts)

    def add(self, variant: Variant, threads: int, profile: Profile) -> None:
        if self.json:
            self.found += profile.as_dicts(variant, threads, self.model, self.dtype, self.tokens)
            return
        print(f"\n{self.model}, {self.dtype}, {self.tokens} tokens on {variant}, {_threads(threads)}")
        print(MODEL_TABLE.format("op", "shape", "kernel", "calls", "time", "share"))
        whole = profile.seconds(profile.timed)
        rows = sorted(profile.rows, key=lambda row: -(profile.seconds(row.samples) or 0))
        lines: list[tuple[Any, ...]] = [
            (row.call.op, f"{row.call.given} -> {row.call.result}", row.call.kernel, row.calls) for row in rows
        ]
        lines.append(("other", "Python, checks, the clock", "", ""))
        lines.append(("a pass, timed by op", "", "", sum(row.calls for row in rows)))
        taken = [*(row.samples for row in rows), profile.other, profile.timed]
        for words, seconds in zip(lines, map(profile.seconds, taken), strict=True):
            share = "-" if seconds is None or not whole else f"{seconds / whole:.1%}"
            print(MODEL_TABLE.format(*words, _microseconds(seconds), share))
        cost = profile.cost()
        print(MODEL_TABLE.format("a pass alone", "", "", "", _microseconds(profile.seconds(profile.alone)), ""))
        print("  timing by op adds " + ("-" if cost is None else f"{cost:.1%}"), end="; ")
        accepted = sum(sample.accepted for sample in profile.timed)
        print(f"accepted: {accepted} of {len(profile.timed)} passes")
        streams.flush()

    def end(self) -> None:
        if self.json:
            _print_report(self.facts, {}, self.found)


def _microseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e6 * seconds:.1f} us"


# ---- two files -------------------------------------------------------------------------------------------------------


def print_comparison(lines: list[Line], json: bool) -> None:
    if json:
        print(streams.to_json([line._asdict() for line in lines], indent=1))
        return
    width = max([3, *(len(line.row) for line in lines)])
    table = "{:<" + str(width) + "} {:>12} {:>12} {:>14} {:>9}  {}"
    print(table.format("row", "before", "after", "after / before", "p", "verdict"))
    for line in lines:
        times = ("-" if time is None else f"{time:.1f} us" for time in (line.before, line.after))
        numbers = ("-" if n is None else f"{n:.3g}" for n in (line.ratio, line.p))
        print(table.format(line.row, *times, *numbers, line.verdict))
