"""squeezeops against torch, onnxruntime and OpenVINO: ``python -m bench.compare`` from the repository's root."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bench.installed  # noqa: F401 before squeezeops is imported
from bench import report, running, targets
from bench.cases import DTYPES, Forward, fields_of, forward_cases, op_cases
from bench.footprint import footprint
from bench.libraries import ALL_PEERS, DEFAULT_PEERS, INT8_PEERS, OURS, OURS_FLOAT32, PEERS
from bench.running import Disagreement, Libraries, note
from bench.worker import Missing
from squeezeops.benchmark.machine import describe_machine

TABLES = ("forward", "ops", "footprint")
OP_LIBRARIES = ("torch", "onnxruntime", "numpy")  # besides our own kernels held to AVX2, and memcpy
QUICK_OP_PAIRS = 30
QUICK_SECONDS, SECONDS = 5.0, 300.0  # per case; then no new round begins


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    p.add_argument("--quick", action="store_true", help="fewer cases and fewer pairs: under 4 minutes")
    p.add_argument("--threads", type=int, action="append", help="only the cases with so many threads; may be repeated")
    p.add_argument(
        "--dtype",
        action="append",
        choices=DTYPES,
        help="only the forward passes with our weights in this dtype; may be repeated",
    )
    p.add_argument("--peers", help=f"comma-separated, among {', '.join(ALL_PEERS)} (default: all)")
    p.add_argument("--tables", default=",".join(TABLES), help="comma-separated (default: %(default)s)")
    p.add_argument("--only", action="append", help="only the cases whose description contains this; may be repeated")
    p.add_argument("--pairs", type=int, help="accepted pairs per peer")
    p.add_argument("--seconds", type=float, help="per case; then no new round begins")
    p.add_argument("--json", metavar="FILE", type=Path, help="write the results to this file")
    p.add_argument("--merge", action="store_true", help="keep the rows of that file that this run does not measure")
    p.add_argument("--plot", metavar="FOLDER", type=Path, help="draw the results, or those of --check")
    p.add_argument(
        "--check", metavar="FILE", type=Path, help="only compare a results file, compare-MACHINE.json, with the targets"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    given = parser().parse_args(arguments)
    try:
        checked = read_file(given.check) if given.check else None
        old = read_file(given.json) if given.merge and given.json and given.json.exists() else {}
    except (OSError, ValueError) as error:
        note(f"bench.compare: {error}")
        return 2
    if checked is not None:
        if given.plot:
            draw(checked, given.plot)
        return judge(checked, targets.machine_of(given.check))
    peers = given.peers.split(",") if given.peers is not None else list(ALL_PEERS)
    for name in peers:
        if name and name not in ALL_PEERS:
            parser().error(f"--peers: expected names among {', '.join(ALL_PEERS)}, got {name!r}")
    tables = given.tables.split(",")
    for name in tables:
        if name not in TABLES:
            parser().error(f"--tables: expected names among {', '.join(TABLES)}, got {name!r}")
    results: dict[str, Any] = {"machine": describe_machine(), "versions": {}, "forward": [], "ops": [], "footprint": {}}
    try:
        for _ in measure(given, peers, tables, results):
            if given.json:  # after each row, so that a crash loses none
                write_file(given.json, merge(old, results))
    except KeyboardInterrupt:
        note(f"interrupted; {given.json} has what was measured" if given.json else "interrupted")
        return 130
    if given.plot:
        draw(merge(old, results), given.plot)
    return 0


def read_file(path: Path) -> dict[str, Any]:
    """Read a results file. Raises OSError or ValueError, which names it."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got: {error}") from None
    if not isinstance(results, dict) or not {"forward", "ops"} <= results.keys():
        raise ValueError(f"{path}: expected results of bench.compare, got something else")
    return results


def write_file(path: Path, results: dict[str, Any]) -> None:
    """Write a results file as a whole, in the place of an older one."""
    written = path.with_name(f"{path.name}.new")
    written.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")
    written.replace(path)


def measure(
    given: argparse.Namespace, peers: Sequence[str], tables: Sequence[str], results: dict[str, Any]
) -> Iterator[None]:
    """Measure what the arguments ask for, into `results`; yield after each row. Print each table."""
    begin = time.monotonic()
    if "forward" in tables:
        for row in measure_forward(given, peers, results["versions"]):
            results["forward"].append(row)
            yield
        print("\nforward (* the best peer; pairs p25 / median / p75)\n" + report.forward_table(results["forward"]))
    if "ops" in tables:
        for row in measure_ops(given, [name for name in OP_LIBRARIES if name in peers], results["versions"]):
            results["ops"].append(row)
            yield
        print("\nops, one thread\n" + report.op_table(results["ops"]))
    if "footprint" in tables:
        for name in (OURS, *(name for name in PEERS if name in peers)):
            found = footprint(name, compressed=not given.quick)
            if found:
                results["footprint"][name] = found
                yield
        print("\nfootprint\n" + report.footprint_table(results["footprint"]))
    note(f"{time.monotonic() - begin:.0f} s")


def chosen(given: argparse.Namespace, description: str) -> bool:
    return not given.only or any(part in description for part in given.only)


def seconds(given: argparse.Namespace) -> float:
    return float(given.seconds or (QUICK_SECONDS if given.quick else SECONDS))


def measure_forward(given: argparse.Namespace, peers: Sequence[str], versions: dict[str, str]) -> Iterator[Any]:
    cases = [
        case
        for case in forward_cases()
        if chosen(given, case.describe())
        and (case.quick or not given.quick)
        and (not given.threads or case.threads in given.threads)
        and (not given.dtype or case.dtype in given.dtype)
    ]
    groups: dict[tuple[str, str, int], list[Forward]] = {}  # of cases that share their workers
    for case in sorted(cases, key=lambda case: (case.isa, DTYPES.index(case.dtype), case.threads)):
        groups.setdefault((case.isa, case.dtype, case.threads), []).append(case)
    for (isa, dtype, threads), of_group in groups.items():
        names = libraries_for(dtype, isa, peers)
        try:
            libraries = Libraries(names, threads, isa)
        except Missing as error:
            if not isa:
                raise
            note(f"left out: {error}")
            continue
        with libraries:
            tell_missing(libraries, versions)
            for case in of_group:
                note(f"forward: {case.describe()}")
                pairs, limit = given.pairs or (case.quick if given.quick else None), seconds(given)
                yield running.run_forward(libraries, case, pairs=pairs, limit=limit, choose=not given.quick)


def libraries_for(dtype: str, isa: str, peers: Sequence[str]) -> list[str]:
    """Return ours and its peers: those in its dtype, in float32 and in their own. On a given ISA there is only ours."""
    ours = [OURS] if dtype == "float32" else [OURS, OURS_FLOAT32]
    if isa:
        return ours
    return ours + [name for name in PEERS + DEFAULT_PEERS + (INT8_PEERS if dtype == "int8" else ()) if name in peers]


def measure_ops(given: argparse.Namespace, peers: Sequence[str], versions: dict[str, str]) -> Iterator[Any]:
    wanted = targets.read_targets()
    with Libraries([OURS, *peers, "avx2", "memcpy"], 1) as libraries:
        tell_missing(libraries, versions)
        for case in op_cases():
            if not chosen(given, case.describe()):
                continue
            if given.quick and not targets.is_target("ops", case.fields(), wanted):
                continue
            note(f"op: {case.describe()}")
            pairs = given.pairs or (QUICK_OP_PAIRS if given.quick else None)
            yield running.run_op(libraries, case, pairs=pairs, limit=seconds(given))


def tell_missing(libraries: Libraries, versions: dict[str, str]) -> None:
    for reason in libraries.missing.values():
        note(f"left out: {reason}")
    versions.update(libraries.versions)


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the new results plus the old rows that they lack, in the order of the old file."""
    merged = {**old, **new, "versions": {**old.get("versions", {}), **new["versions"]}}
    for table in ("forward", "ops"):
        rows = {key(row): row for row in [*old.get(table, []), *new[table]]}
        merged[table] = list(rows.values())
    merged["footprint"] = {**old.get("footprint", {}), **new["footprint"]}
    return merged


def key(row: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in fields_of(row).items() if name != "quick"}, sort_keys=True)


def rounded(value: Any) -> Any:
    """Round each float to four digits."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def judge(results: dict[str, Any], machine: str) -> int:
    """Print the verdict on each target. Return 1 if one of this machine is missed."""
    lines = targets.check(results, targets.read_targets(), machine)
    print(report.target_table(lines))
    own = [line for line in lines if not line.elsewhere]
    missed = sum(not line.fine for line in own)
    print(f"{len(own) - missed} of {len(own)} targets of this machine reached")
    return 1 if missed else 0


def draw(results: dict[str, Any], folder: Path) -> None:
    from bench import plots

    for path in plots.draw(results, folder):
        note(f"wrote {path}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Disagreement as error:
        sys.exit(f"bench.compare: {error}")
