"""The pictures of the documentation that show a report, taken in a headless Chromium: see CONTRIBUTING.md.

python -m docs.pictures REPORT.html            writes docs/images/report.png, similarity.png and weights.png
python -m docs.pictures REPORT.html --look DIR   instead, the whole page in light, dark, phone and print
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path
from typing import Any

from selenium.webdriver.support.ui import WebDriverWait

from tests.report.browser import browser, open_page, resize

IMAGES = Path(__file__).parent / "images"
# Picture → the sections of a report that it shows, one below the other; width in pixels.
PICTURES = {
    "report.png": (("leaderboard", "cumulative"), 1320),
    "similarity.png": (("similarity",), 1200),
    "weights.png": (("weights",), 1200),
}
_IS_DRAWN = "return document.querySelectorAll('.plot:not(.js-plotly-plot)').length === 0"


# Of the plots that are on the page, hidden sections left out.
_IS_SHOWN = "return [...document.querySelectorAll('section:not([hidden]) .plot:not(.js-plotly-plot)')].length === 0"
_ALONE = """
const wanted = arguments[0].map((key) => document.querySelector(`section[aria-labelledby=title-${key}]`));
if (wanted.includes(null)) return null;
document.querySelectorAll("main > *").forEach((part) => { part.hidden = !wanted.includes(part); });
const at = wanted.map((part) => part.getBoundingClientRect());
return [at[0].top + scrollY, at.at(-1).bottom + scrollY];
"""


def alone(driver: Any, keys: tuple[str, ...]) -> tuple[float, float] | None:
    """Hide all sections but some, and return their top and bottom on the page; None where the report lacks one."""
    found = driver.execute_script(_ALONE, list(keys))
    return None if found is None else (float(found[0]), float(found[1]))


def picture(driver: Any, path: Path, width: int, top: float, bottom: float) -> None:
    """Write a part of the page as PNG, from edge to edge."""
    clip = {"x": 0, "y": top, "width": width, "height": bottom - top, "scale": 1}
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    path.write_bytes(base64.b64decode(taken["data"]))


def take(report: Path, folder: Path) -> list[Path]:
    """Take the pictures that a report has the sections for, and return their files."""
    written = []
    with browser() as driver:
        open_page(driver, report)
        for name, (keys, width) in PICTURES.items():
            resize(driver, width, 900)
            if (place := alone(driver, keys)) is not None:
                WebDriverWait(driver, 120).until(lambda page: page.execute_script(_IS_SHOWN))
                picture(driver, folder / name, width, *(alone(driver, keys) or place))  # where it is once it is drawn
                written.append(folder / name)
    return written


def look(report: Path, folder: Path) -> list[Path]:
    """Take the whole page as a reader sees it, in light and dark, on a phone, and printed."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, width, dark in (("light", 1280, False), ("dark", 1280, True), ("phone", 390, False)):
        with browser(width=width, dark=dark) as driver:
            open_page(driver, report)
            height = driver.execute_script("return document.documentElement.scrollHeight")
            resize(driver, width, int(height))  # what is drawn only when it is seen is seen
            WebDriverWait(driver, 120).until(lambda page: page.execute_script(_IS_DRAWN))
            written.append(folder / f"{name}.png")
            picture(driver, written[-1], width, 0.0, float(height))
            if name == "light":
                printed = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
                written.append(folder / "print.pdf")
                written[-1].write_bytes(base64.b64decode(printed["data"]))
    return written


def main() -> None:
    """Take what the command line asks for, and print the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--look", type=Path, metavar="DIR")
    given = parser.parse_args()
    for path in take(given.report, IMAGES) if given.look is None else look(given.report, given.look):
        print(path)  # noqa: T201


if __name__ == "__main__":
    main()
