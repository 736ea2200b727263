"""The modules of the package, read from their source: no cycles, layers in squeezebert, no private names."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

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


def test_every_package_is_installed():
    root = Path(__file__).parents[1]
    listed = re.findall(r'^  "(squeezeops[\w.]*)",$', (root / "pyproject.toml").read_text(), re.MULTILINE)
    found = (path.parent.relative_to(root).parts for path in (root / "squeezeops").rglob("__init__.py"))
    assert sorted(listed) == sorted(map(".".join, found))
