"""Who imports and includes whom, read from the source: no cycles, layers, no private names."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kernel_tables import CSRC, ROOT, includes

import squeezeops

PACKAGE = Path(squeezeops.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
        path.read_text(encoding="utf-8")
    )
    for path in PACKAGE.rglob("*.py")
}
# What each part of squeezebert may import from the others.
LAYERS = {
    "files": {"files"},
    "tokenizer": {"files", "tokenizer"},
    "model": {"files", "model"},
    "conversion": {"files", "tokenizer", "model", "conversion"},
}


def imports(tree):
    """Yield (module or name that is imported, the name that it is bound to), those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from ((f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names)


def module_of(name):
    """The module of the package that an imported name is or belongs to; None for another package's."""
    return name if name in MODULES else name.rpartition(".")[0] if name.startswith("squeezeops.") else None


def test_no_cycles():
    """Imports for types alone and imports inside functions count, too."""
    graph = {name: {module_of(imported) for imported, _ in imports(tree)} for name, tree in MODULES.items()}
    for found in graph.values():
        found &= MODULES.keys()
    assert graph["squeezeops.squeezebert.model.squeezebert"] > {"squeezeops.ops"}
    TopologicalSorter(graph).prepare()  # raises a CycleError, which names the modules


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_squeezebert(layer):
    prefix = "squeezeops.squeezebert."
    for name, tree in MODULES.items():
        if name.startswith(prefix + layer):
            found = {imported.split(".")[2] for imported, _ in imports(tree) if imported.startswith(prefix)}
            assert found <= LAYERS[layer], name


def test_squeezebert_uses_public_names_only():
    for name, tree in MODULES.items():
        if not name.startswith("squeezeops.squeezebert"):
            continue
        bound = set()
        for imported, as_name in imports(tree):
            if imported.startswith("squeezeops"):
                bound.add(as_name)
                parts = imported.removeprefix("squeezeops.").split(".")
                assert imported == "squeezeops.__version__" or not any(part.startswith("_") for part in parts), name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound:
                assert not node.attr.startswith("_") or node.attr == "__new__", f"{name}: {ast.unparse(node)}"


def test_layers_of_the_sources_in_c():
    """They are those of the table in docs/architecture.md: each name in its second column is used, and no other."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("| may import or include |")[2]
    table = dict(re.findall(r"^\| `((?:csrc|python)/[\w./]*)` \| (.*) \|$", page, re.MULTILINE))
    sources = [path for path in (*CSRC.rglob("*.*"), *(ROOT / "python").glob("*.*")) if "package" not in path.parts]
    public = CSRC / "include" / "squeezeops" / "squeezeops.h"  # includes nothing of the project
    assert includes(public) == []
    used = {row: set() for row in table}
    for path in sources:
        pair = path.with_suffix(".h") if path.parent == CSRC else path  # error.cc and error.h share a row
        name = pair.relative_to(ROOT).as_posix()
        if path == public:
            continue
        row = next((row for row in table if name.startswith(row)), None)
        assert row, f"{name}: no row"
        may = re.findall(r"`([\w./]+)`", table[row])
        for header in includes(path):
            header = header.replace("squeezeops/squeezeops.h", "squeezeops.h")
            beside = path.parent != CSRC and (path.parent / header).exists()
            if not beside and not f"csrc/{header}".startswith(row):
                allowed = [name for name in may if header.startswith(name)]
                assert allowed, f"{name}: {header}"
                used[row].update(allowed)
    assert used == {row: set(re.findall(r"`([\w./]+)`", text)) for row, text in table.items()}


def test_every_package_is_installed():
    listed = re.findall(r'^  "(squeezeops[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    found = (path.parent.relative_to(ROOT).parts for path in (ROOT / "squeezeops").rglob("__init__.py"))
    assert sorted(listed) == sorted(map(".".join, found))
