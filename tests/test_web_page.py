"""The page in headless Chromium: typing, models, builds, keyboard, offline.

CHROMIUM names the browser; else it is looked for on PATH. SQUEEZEOPS_SHOTS names a folder for screenshots.
"""

import http.server
import os
import re
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from pages import blocks
from test_wasm import TEXTS, modules  # noqa: F401, a fixture

pytestmark = pytest.mark.full
GOOD, BAD = "a gorgeous, witty, seductive movie", "the battery dies in an hour and nobody would look at it"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A quiet server of files."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".wasm": "application/wasm"}

    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="module")
def address(modules):  # noqa: F811
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=modules))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    """A function that starts Chromium with flags of V8."""
    playwright = pytest.importorskip("playwright.sync_api", reason="there is no playwright (pip install playwright)")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip(reason="there is no chromium")
    with playwright.sync_playwright() as running:
        browsers = {}

        def start(*flags):
            if flags not in browsers:
                options = ["--no-sandbox"] + ([f"--js-flags={' '.join(flags)}"] if flags else [])
                browsers[flags] = running.chromium.launch(executable_path=path, args=options)
            return browsers[flags]

        yield start
        for browser in browsers.values():
            browser.close()


def opened(browser, address, **options):
    """The page, when its first label stands or it has failed. Errors in the console fail the test."""
    page = browser.new_context(**options).new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    page.wait_for_function("document.getElementById('label').textContent != '–' || !error.hidden")
    return page


def wait_for(page, label):
    page.wait_for_function("label => document.getElementById('label').textContent == label", arg=label)


def shot(page, name):
    if folder := os.environ.get("SQUEEZEOPS_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def page(chromium, address):
    page = opened(chromium(), address)
    yield page
    page.context.close()


def test_the_label_changes_as_one_types(page):
    wait_for(page, "POSITIVE")
    shot(page, "light")
    page.fill("#text", "")
    wait_for(page, "–")
    page.locator("#text").press_sequentially(BAD)
    wait_for(page, "NEGATIVE")
    page.wait_for_function("times.textContent.includes('for 15 tokens')")
    assert re.match(r"\d+\.\d\d ms for 15 tokens", page.inner_text("#times"))
    assert page.locator("#scores meter").count() == 2
    assert page.locator("#error").is_hidden()
    page.fill("#text", TEXTS[0])
    wait_for(page, "POSITIVE")


def test_the_example_of_docs_web_md(page):
    (block,) = blocks("docs/web.md", "js")
    page.add_script_tag(content=block.text.replace("model.classify(", "window.found = model.classify("), type="module")
    page.wait_for_function("window.found")
    assert page.evaluate("window.found.label") == "POSITIVE"


def test_the_build_is_shown(chromium, address):
    for flags, isa in (((), "wasm_relaxed"), (("--no-enable-fma3",), "wasm_simd128")):
        page = opened(chromium(*flags), address)
        wait_for(page, "POSITIVE")
        assert page.inner_text("#build").startswith(isa)
        page.context.close()


def test_a_browser_without_simd_gets_a_message(chromium, address):
    page = opened(chromium("--no-enable-sse4-1"), address)
    assert page.inner_text("#error") == "host: expected one with WebAssembly SIMD, got one without"
    assert page.inner_text("#build") == "none"
    shot(page, "without-simd")
    page.context.close()


def test_models_from_files(page, modules, tmp_path):  # noqa: F811
    data = (modules / "sentiment.safetensors").read_bytes()
    other, bad = tmp_path / "other.safetensors", tmp_path / "bad.safetensors"
    other.write_bytes(data)
    bad.write_bytes(data[:100])
    page.set_input_files("#file", bad)
    page.wait_for_selector("#error:not([hidden])")
    assert "expected" in page.inner_text("#error")
    shot(page, "bad-model")
    wait_for(page, "POSITIVE")  # the model before stays
    page.set_input_files("#file", other)
    page.wait_for_function("model.textContent.startsWith('other.safetensors: squeezebert')")
    assert page.locator("#error").is_hidden()
    # The same by a drop.
    page.evaluate(
        """async () => {
          const transfer = new DataTransfer();
          const bytes = await (await fetch("sentiment.safetensors")).arrayBuffer();
          transfer.items.add(new File([bytes], "dropped.safetensors"));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer }));
        }"""
    )
    page.wait_for_function("model.textContent.startsWith('dropped.safetensors')")
    page.click("#built-in")
    page.wait_for_function("model.textContent.startsWith('built-in')")


def test_it_works_offline(page):
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.context.set_offline(True)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    wait_for(page, "POSITIVE")
    page.fill("#text", BAD)
    wait_for(page, "NEGATIVE")


def test_all_requests_are_to_the_page_s_own_server(chromium, address):
    context = chromium().new_context()
    page = context.new_page()
    seen = []
    page.on("request", lambda request: seen.append(request.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    assert seen and all(url.startswith((address, "data:", "blob:")) for url in seen)
    context.close()


def test_keyboard_and_names(page):
    """Everything has a name, and the tab key reaches it in the order of the page."""
    page.focus("#text")
    reached = ["text"]
    for _ in range(2):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["text", "file", "built-in"]
    assert page.get_by_label("Text", exact=True).count() == 1
    assert page.get_by_role("button", name="Use the built-in model").count() == 1
    assert page.get_by_role("status").inner_text() == "POSITIVE"
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(chromium, address, scheme):
    """All text has at least the 4.5 : 1 of WCAG AA against the background behind it."""
    page = opened(chromium(), address, color_scheme=scheme, viewport={"width": 390, "height": 844})
    page.fill("#text", BAD)
    wait_for(page, "NEGATIVE")
    shot(page, scheme + "-narrow")
    pairs = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((e) => e.innerText?.trim()).map((e) => {
          let behind = e;
          while (getComputedStyle(behind).backgroundColor == "rgba(0, 0, 0, 0)" && behind.parentElement)
            behind = behind.parentElement;
          return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor, e.tagName];
        })"""
    )

    def luminance(color):
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert len(pairs) > 10
    for text, behind, tag in pairs:
        light, dark = sorted([luminance(text), luminance(behind)], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (tag, text, behind)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    page.context.close()


def test_reduced_motion(chromium, address):
    page = opened(chromium(), address, reduced_motion="reduce")
    assert page.evaluate("getComputedStyle(label).transitionDuration") == "0s"
    page.context.close()
