"""Hosts that run the WebAssembly module: wasmtime in this process, and node.

A host has one method, `exchange`: write to the module's memory, call functions, read its memory.
"""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Writes = Sequence[tuple[int, bytes]]
Calls = Sequence[tuple[Any, ...]]  # (name, argument, ...): an int is an i32, a string of digits an i64
Reads = Sequence[tuple[int, int]]  # address and size


class Wasmtime:
    """The module in wasmtime."""

    def __init__(self, module: Path) -> None:
        import wasmtime

        self.store = wasmtime.Store()
        compiled = wasmtime.Module.from_file(self.store.engine, str(module))
        self.exports = wasmtime.Instance(self.store, compiled, []).exports(self.store)
        self.memory = self.exports["memory"]
        self.exports["_initialize"](self.store)

    def exchange(self, writes: Writes = (), calls: Calls = (), reads: Reads = ()) -> tuple[list[Any], list[bytes]]:
        for address, data in writes:
            self.memory.write(self.store, data, address)
        results = [self.exports[name](self.store, *map(int, arguments)) for name, *arguments in calls]
        return results, [bytes(self.memory.read(self.store, address, address + size)) for address, size in reads]

    def close(self) -> None:
        self.store.close()


class Node:
    """The module in node, behind a pipe (host.mjs)."""

    def __init__(self, module: Path, node: str, *options: str) -> None:
        script = Path(__file__).with_name("host.mjs")
        self.process = subprocess.Popen([node, *options, script, module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def exchange(self, writes: Writes = (), calls: Calls = (), reads: Reads = ()) -> tuple[list[Any], list[bytes]]:
        request = {"writes": [(address, len(data)) for address, data in writes], "calls": calls, "reads": reads}
        header = json.dumps(request).encode()
        assert self.process.stdin and self.process.stdout
        for piece in (struct.pack("<I", len(header)), header, *(data for _, data in writes)):
            self.process.stdin.write(piece)
        self.process.stdin.flush()
        size = self.process.stdout.read(4)
        if len(size) < 4:
            raise RuntimeError(f"node ended with status {self.process.wait()}")
        results = json.loads(self.process.stdout.read(struct.unpack("<I", size)[0]))
        return results, [self.process.stdout.read(size) for _, size in reads]

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
