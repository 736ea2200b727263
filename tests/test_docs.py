"""The pages: links lead somewhere, the README stays one screen."""

import re

import pytest
from kernel_tables import ISAS
from pages import PAGES, ROOT, blocks, without_code

from squeezeops.cli.tasks import COMMANDS
from squeezeops.squeezebert.files.hub_cache import NAME

README = (ROOT / "README.md").read_text(encoding="utf-8")


def links(page):
    """Targets of the relative links of a page, the addresses of pictures among them."""
    text = without_code(page)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(page):
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_a_file_and_a_heading(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {link.split("#")[0] for link in links(index)}
    assert {page.name for page in index.parent.glob("*.md")} - linked == {index.name}


def test_the_readme_is_one_screen_of_two_commands_two_tables_and_one_picture():
    assert len(README.splitlines()) <= 90
    # In this order: the first one is the main job, the second one runs the tests.
    main, tests = (block.text for block in blocks("README.md", "bash"))
    assert "squeezeops classify" in main and "pytest" in tests
    assert len(re.findall(r"^\| ---", README, re.MULTILINE)) == 2
    assert len(re.findall(r"^!\[", README, re.MULTILINE)) == 1


def test_the_figures_of_the_readme_are_those_of_the_page_about_performance():
    performance = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    figures = re.findall(r"\| (?=([\d.]+(?: ms|x| s| MB)) \|)", README)
    assert len(figures) == 16 + 12
    assert [figure for figure in figures if f"| {figure} |" not in performance] == []


def test_the_page_about_instruction_sets_lists_those_of_the_table():
    page = (ROOT / "docs" / "instruction-sets.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(ISAS)


def test_the_page_about_models_has_five_names_per_task():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    sections = page.split("\n### ")[1:]
    tasks = set()
    for section in sections:
        command, task = re.search(r"`([\w-]+)`, `pipeline\(\"([\w-]+)\"\)`", section).groups()
        names = re.findall(r"^hf download (\S+)", section, re.MULTILINE)
        assert len(set(names)) == 5 and all(NAME.fullmatch(name) for name in names), command
        (used,) = re.findall(rf"^squeezeops {command} --model (\S+) ", section, re.MULTILINE)
        assert used in names
        assert (command, task) in {(row.name, row.task) for row in COMMANDS}
        tasks.add(task)
    assert tasks == {row.task for row in COMMANDS}


def test_the_page_about_the_tree_lists_what_exists():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folders = page.split("\n## Folders\n")[1].split("\n## ")[0]
    paths = re.findall(r"^\| `([^`]+)` \|", folders, re.MULTILINE)
    assert paths and [path for path in paths if not list(ROOT.glob(re.sub(r"<\w+>", "*", path)))] == []
