"""The documentation builds without a warning, needs no network, and leads nowhere that is not there."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.config import config_files
from harness.config.schema import describe_file
from tests.docs.blocks import ROOT

pytest.importorskip("mkdocs", reason="the documentation is built with mkdocs, an extra for developers")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_stands_in_the_navigation(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "index.md":
            assert page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in index, page


def test_commands_and_configuration_are_generated(site: Path) -> None:
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "usage: bench data convert" in commands
    reference = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")}
    for path in itertools.chain(*config_files().values()):
        group, page = path.parent.name, reference[f"configuration-{path.parent.name}"]
        assert f"{group}={path.stem}" in page
        assert f"configuration-{group}.html" in reference["configuration"]
        for key in describe_file(group, path):
            assert f"<code>{key.key}</code>" in page, f"{group}={path.stem}: {key.key}"
    for case in filter(Path.is_dir, (ROOT / "results" / "full").iterdir()):
        assert case.name in reference["leaderboard"]
    for published in (ROOT / "results").glob("*/published.md"):
        assert f"suite={published.parent.name}" in reference["published"]
    assert "NOT SHOWN" in reference["published"]
    assert "time_weights" in (site / "reference" / "python.html").read_text(encoding="utf-8")


def test_the_site_holds_nothing_but_pages_and_what_they_show(site: Path) -> None:
    kinds = {path.suffix for path in site.rglob("*") if path.is_file()}
    assert kinds <= {".html", ".css", ".js", ".map", ".json", ".xml", ".gz", ".png", ".svg", ".inv", ".txt"}, kinds


def test_no_key_is_wrapped_letter_by_letter(site: Path) -> None:
    page = (site / "reference" / "configuration-model.html").read_text(encoding="utf-8")
    assert '<div class="keys keyed">' in page
    assert "stylesheets/extra.css" in page
    assert "white-space: nowrap" in (site / "stylesheets" / "extra.css").read_text(encoding="utf-8")


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\"> ]+)", text)
        loaded += re.findall(r"<link[^>]* href=\"?([^\"> ]+)[^>]*rel=\"?stylesheet", text)
        assert [url for url in loaded if url.startswith(("http:", "https:", "//"))] == [], page


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    texts = {page.resolve(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    for page, text in texts.items():
        if page.name == "404.html":
            continue
        for link in re.findall(r"href=\"([^\"]+)\"", text):
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", target) or target.startswith("//"):
                continue
            found = (page.parent / target).resolve() if target else page
            found = found / "index.html" if found.is_dir() else found
            assert found.is_file(), f"{page.name}: {link}"
            if anchor and found in texts and not anchor.startswith("__"):
                assert f'id="{anchor}"' in texts[found], f"{page.name}: {link}"
