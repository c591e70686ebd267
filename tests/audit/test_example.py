"""The documented example fails, and for the documented reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.cli import main
from tests.audit.market import SMALL

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.nightly
def test_the_example_of_a_leaky_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    try:
        assert main(["audit", *SMALL, "--config-dir", str(EXAMPLES / "my_conf"), "model=leaky"]) == 1
    finally:
        sys.modules.pop("leaky_model", None)
    out = capsys.readouterr().out
    assert "LEAK  found by poison" in out
    assert "predictions differ" in out
