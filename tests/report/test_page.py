"""The page in a real browser: it opens offline without complaint, sorts, filters, switches, and escapes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.evaluation.evaluate import DailySeries
from harness.report.cells import Report
from harness.report.page import render, script_json, write_report
from harness.run.finished import FinishedRun, SweepRow
from tests.report import browser

in_a_browser = pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.ABSENT)
HOSTILE = """</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">'"&{{7*7}}<b>"""


@pytest.fixture(scope="module")
def page(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(sweep), "--out", str(path), "--title", "A sweep"]) == 0
    return path


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser.browser() as opened:
        yield opened


def see_all(driver: Any) -> None:
    """Draw every figure, as scrolling through the page does."""
    for figure in driver.find_elements("css selector", "figure[data-figure]"):
        driver.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", figure)
        wait(driver, lambda _, f=figure: f.find_elements("css selector", ".main-svg"))


def wait(driver: Any, condition: Any) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 20).until(condition)


def column(driver: Any, table: str, index: int) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(c => c.firstChild.textContent.trim())"
    found: list[str] = driver.execute_script(script, f"#{table} tbody tr:not([hidden]) > :nth-child({index + 1})")
    return found


@in_a_browser
def test_the_page_draws_every_figure_and_the_console_stays_silent(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    see_all(driver)
    assert len(driver.find_elements("css selector", "figure[data-figure]")) == 16
    assert browser.problems(driver) == []
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []


@in_a_browser
def test_a_heading_sorts_both_ways_and_says_so(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    heads = driver.find_elements("css selector", "#leaderboard thead th")
    at = [head.text.split("\n")[0] for head in heads].index("IC")
    orders = []
    for expected in ("descending", "ascending"):
        heads[at].find_element("tag name", "button").send_keys("\n")
        assert heads[at].get_attribute("aria-sort") == expected
        orders.append([float(text.replace("−", "-")) for text in column(driver, "leaderboard", at)])
    assert orders[0] == sorted(orders[0], reverse=True)
    assert orders[1] == sorted(orders[1])
    assert [head.get_attribute("aria-sort") for head in heads].count("none") == len(heads) - 1


@in_a_browser
def test_a_filter_keeps_matching_rows_and_counts_them(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    driver.find_element("id", "leaderboard-filter").send_keys("gf_exp horizon=5")
    names = column(driver, "leaderboard", 0)
    assert len(names) == 1
    assert driver.find_element("id", "leaderboard-count").text == "1 of 6 rows"


@in_a_browser
@pytest.mark.nightly
def test_cells_and_variants_are_switched(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    see_all(driver)
    plot = "document.getElementById('plot-cumulative')"
    count = f"return {plot}.data.filter(t => t.visible && t.yaxis !== 'y2').length"
    assert driver.execute_script(count) == 5  # four cells and the benchmark
    driver.find_element("css selector", "#cells input").send_keys(" ")
    assert driver.execute_script(count) == 4
    drawn = f"return JSON.stringify({plot}.data[0].y)"
    first = driver.execute_script(drawn)
    driver.execute_script(
        "const s = document.getElementById('choose-cumulative'); s.value = '1'; s.dispatchEvent(new Event('change'))"
    )
    assert driver.execute_script(drawn) != first
    summary = driver.find_element("id", "summary-cumulative").get_attribute("textContent")
    assert "minus benchmark, after cost" in summary
    driver.execute_script(
        "const s = document.getElementById('choose-windows'); s.value = '2'; s.dispatchEvent(new Event('change'))"
    )
    assert driver.find_element("css selector", "#windows caption").text.startswith("Windows of ")
    assert browser.problems(driver) == []


@in_a_browser
@pytest.mark.nightly
def test_a_legend_names_the_cells_that_a_plot_shows(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    see_all(driver)
    names = "return [...document.querySelectorAll('#legend-cumulative li')].map(e => e.textContent)"
    before = driver.execute_script(names)
    assert len(before) == len(set(before)) == 5
    assert before[-1] == "benchmark"
    driver.find_element("css selector", "#cells input").send_keys(" ")
    assert driver.execute_script(names) == before[1:]


@in_a_browser
@pytest.mark.nightly
def test_the_theme_follows_the_system_and_its_button(page: Path) -> None:
    with browser.browser(width=390, height=844, dark=True) as driver:
        browser.open_page(driver, page)
        see_all(driver)
        theme = "return document.documentElement.dataset.theme"
        assert driver.execute_script(theme) == "dark"
        driver.find_element("id", "theme").send_keys("\n")
        assert driver.execute_script(theme) == "light"
        # A phone scrolls down, never sideways.
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
        assert browser.problems(driver) == []


@in_a_browser
@pytest.mark.nightly
def test_every_control_and_plot_has_a_name(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    see_all(driver)
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "combobox", "searchbox", "checkbox", "image", "region", "table"}
    by_id = {node["nodeId"]: node for node in nodes}

    def role(node: dict[str, Any]) -> str:
        return str(node.get("role", {}).get("value"))

    def inside_an_image(node: dict[str, Any]) -> bool:
        parent = by_id.get(node.get("parentId"))
        return parent is not None and (role(parent) == "image" or inside_an_image(parent))

    asked = [n for n in nodes if not n.get("ignored") and role(n) in roles and not inside_an_image(n)]
    assert len(asked) > 40
    assert [role(n) for n in asked if not n.get("name", {}).get("value")] == []


@in_a_browser
@pytest.mark.nightly
def test_it_prints_without_controls(driver: Any, page: Path) -> None:
    browser.open_page(driver, page)
    see_all(driver)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not driver.find_element("id", "theme").is_displayed()
        assert not driver.find_element("css selector", "nav").is_displayed()
        assert not any(bar.is_displayed() for bar in driver.find_elements("css selector", ".modebar-container"))
        assert driver.find_element("id", "leaderboard").is_displayed()
        folded = len(driver.find_elements("css selector", "details:not([open])"))
        assert folded > 0
        driver.execute_script("window.dispatchEvent(new Event('beforeprint'))")
        assert driver.find_elements("css selector", "details:not([open])") == []
        widths = driver.execute_script("return [...document.querySelectorAll('.main-svg')].map(e => e.clientWidth)")
        assert max(widths) <= 690  # what A4 leaves
        heights = driver.execute_script("return [...document.querySelectorAll('figure')].map(e => e.clientHeight)")
        assert max(heights) < 470  # two on a page with their headings, of the 980 pixels that letter leaves
        assert "portfolio" in driver.find_element("id", "choose-returns").text  # what is shown, of which cell
        driver.execute_script("window.dispatchEvent(new Event('afterprint'))")
        assert len(driver.find_elements("css selector", "details:not([open])")) == folded
        assert driver.execute_script("return document.getElementById('plot-cumulative').clientHeight") == 520
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@in_a_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_covers_a_heading_that_a_link_leads_to(driver: Any, page: Path, width: int) -> None:
    browser.resize(driver, width, 844)
    try:
        browser.open_page(driver, page)
        covered = driver.execute_script("""
            document.documentElement.style.scrollBehavior = "auto";
            return [...document.querySelectorAll("nav a")].map((link) => {
              link.click();
              const head = document.querySelector(`${link.getAttribute("href")} h2`);
              const { left, top, height } = head.getBoundingClientRect();
              return document.elementFromPoint(left + 4, top + height / 2) === head ? null : head.textContent;
            }).filter(Boolean)""")
        assert covered == []
    finally:
        browser.resize(driver, 1280, 900)


@in_a_browser
@pytest.mark.nightly
def test_hostile_names_stay_text(driver: Any, report: Report, tmp_path: Path) -> None:
    cells = tuple(replace(cell, name=f"{HOSTILE}{i}") for i, cell in enumerate(report.cells))
    path = write_report(
        Report(cells, (SweepRow(HOSTILE, HOSTILE, HOSTILE, None),)), tmp_path / "hostile.html", title=HOSTILE
    )
    browser.open_page(driver, path)
    see_all(driver)
    assert driver.execute_script("return window.hacked") is None
    assert browser.problems(driver) == []
    assert driver.find_element("tag name", "h1").text == HOSTILE
    assert column(driver, "published-0", 0) == []
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0
    driver.execute_script(
        "const s = document.getElementById('choose-windows'); s.value = '1'; s.dispatchEvent(new Event('change'))"
    )
    assert HOSTILE in driver.find_element("css selector", "#windows caption").text


def test_no_text_of_the_data_can_end_a_script() -> None:
    text = script_json({"name": HOSTILE + "<!--\u2028"})
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text)["name"].startswith(HOSTILE)


def test_hostile_names_are_escaped_in_the_source(report: Report) -> None:
    cells = tuple(replace(cell, name=f"{HOSTILE}{i}") for i, cell in enumerate(report.cells))
    html = render(Report(cells, (SweepRow(HOSTILE, HOSTILE, HOSTILE, None),)), title=HOSTILE)
    assert "window.hacked=1</script>" not in html
    assert "<img" not in html.partition("<script")[0]


def test_a_report_can_be_made_again_byte_for_byte(report: Report) -> None:
    assert render(report) == render(report)


@pytest.mark.parametrize(("count", "most"), [(6, 2.5e6), pytest.param(24, 8e6, marks=pytest.mark.nightly)])
def test_a_page_of_four_years_stays_small(report: Report, count: int, most: float) -> None:
    size = 920
    times = np.arange("2017-01-03", size, dtype="datetime64[D]").astype("datetime64[ns]")
    rng = np.random.default_rng(0)

    def long(number: int) -> FinishedRun:
        cell = report.cells[number % len(report.cells)]
        series = {name: rng.normal(0, 0.01, size) for name in cell.series.values}
        return replace(cell, name=f"model=lightgbm windows.step=20 cell={number}", given=DailySeries(times, series))

    assert len(render(Report(tuple(map(long, range(count))), ())).encode()) < most


def test_plotly_is_the_bundle_that_npm_ships() -> None:
    template = resources.files("harness.report").joinpath("template")
    bundle = template.joinpath("plotly-cartesian.min.js").read_bytes()
    # of plotly-cartesian.min.js in plotly.js-cartesian-dist-min-4.1.1.tgz
    assert hashlib.sha256(bundle).hexdigest() == "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
    assert template.joinpath("plotly-LICENSE.txt").read_text(encoding="utf-8").startswith("MIT License")
