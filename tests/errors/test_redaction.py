"""No password in any text that leaves the program: messages, tracebacks, notes, files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.config import compose_config
from harness.errors import ConfigError
from harness.errors.redaction import RedactedStream, redacted, without_secrets
from harness.run.dispatch import _for_workers, work
from harness.store.artifacts import key_of

SECRET = "s3cr:t@/pä%40ss"


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:{SECRET}@host:5000/x",
        f"postgresql+psycopg2://user:{SECRET}@db/mlflow?sslmode=on",
        f"at https://{SECRET}@host, twice: https://u:{SECRET}@host/path",
        f"http://host:5000/x?password={SECRET}&experiment=1",
        f"http://host/x?a=b&access_token={SECRET}",
        f"http://host/x?X-Amz-Signature={SECRET}",
        f"https://host/p.tar.gz?token={SECRET}#part",
        f"dbname=x password='{SECRET}' host=h",
        f'tracking.uri="http://user:{SECRET}@host:5000"',
        "Authorization: Bearer s3cr.tpass0123",
        "Authorization: Basic dXNlcjpzM2NyOnRwYXNz",
    ],
)
def test_secrets_of_an_address_are_left_out_wherever_they_stand(text: str) -> None:
    left = redacted(text)
    assert "***" in left
    for piece in ("s3cr", "pä", "40ss", "tpass", "dXNlc"):
        assert piece not in left, left


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/x?experiment=1",
        "tcp://host:8786",
        "http://127.0.0.1:9/q.tar.gz",
        "sqlite:////home/me@work/mlflow.db",
        "model.alpha=3 windows.step=20 data.columns.time=date",
        "https://host:8443/a@b",
        "the token of an operator; a basic idea; features.expressions.key=1",
        "mail me@host.org: passed=3",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_secrets_of_the_environment_are_left_out_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:qu%40y8x@host")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "zz9plural")
    assert redacted("port 'qu%40y8x', qu@y8x and zz9plural") == "port '***', *** and ***"


def test_a_variable_that_is_called_a_secret_is_one_wherever_its_value_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "hunter2hunter2")
    monkeypatch.setenv("PROXY_PASSWORD", "p4ssw0rdword")
    for name, value in (("TOKEN", "ten"), ("X_CREDENTIALS", "/home/me/key.json"), ("RATE_TOKEN", "12345678")):
        monkeypatch.setenv(name, value)
    assert redacted("got hunter2hunter2 and p4ssw0rdword") == "got *** and ***"
    assert redacted("ten /home/me/key.json 12345678") == "ten /home/me/key.json 12345678"


@pytest.mark.parametrize(
    "text", ['{"api_key":"s3cr\\"et"}', "model:\n  api_key: s3cret\n", '"a": 1, "my.token": "s3cret"']
)
def test_a_key_of_json_or_yaml_that_is_called_a_secret_is_left_out(text: str) -> None:
    assert "s3cr" not in redacted(text)
    assert "***" in redacted(text)


def test_a_secret_of_a_model_is_in_no_snapshot_but_keeps_its_fits_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    described = {
        "model": {"_target_": "m.M", "api_key": "abc", "address": "x hunter2hunter2", "tokens": 3, "secret": ""}
    }
    assert without_secrets(described) == {
        "model": {"_target_": "m.M", "api_key": "***", "address": "x ***", "tokens": 3, "secret": ""}
    }
    one, other = key_of("fit", model={"api_key": "s3cret-1"}), key_of("fit", model={"api_key": "s3cret-2"})
    assert one.digest != other.digest
    assert "s3cret" not in one.parts + other.parts


def test_redacting_twice_changes_nothing() -> None:
    once = redacted(f"http://user:{SECRET}@host?token={SECRET}")
    assert redacted(once) == once


def test_errors_streams_and_keys_are_redacted() -> None:
    address = f"http://user:{SECRET}@host"
    assert "s3cr" not in str(ConfigError(address, where=address, got=address, expected=address, hint=address))
    stream = io.StringIO()
    RedactedStream(stream).write(f"at {address}\n")
    assert stream.getvalue() == "at http://***@host\n"
    plain, hidden = key_of("panel", url="http://host"), key_of("panel", url=address)
    assert "s3cr" not in hidden.parts
    assert hidden.digest != plain.digest, "another address is another key all the same"


def test_the_recorded_command_and_what_workers_are_sent_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:qu%40y8x@host")
    config = compose_config(["tracking=mlflow", "suite=x"])
    given = compose_config(["tracking=mlflow", "tracking.uri='http://user:hunter22@host'"])
    assert "hunter22" not in " ".join(given.command)
    for composed in (config.composed, given.composed):
        assert "host" not in json.dumps(json.loads(_for_workers(composed))["tracking"])


def test_a_workers_answer_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> None:
        raise RuntimeError("no connection to http://user:hunter22@host")

    monkeypatch.setattr("harness.run.dispatch._do", crash)
    answer = work("{}")
    assert answer is not None
    assert "http://***@host" in answer
    assert "hunter22" not in answer


@pytest.mark.parametrize(
    "command",
    [
        ["run", "tracking=mlflow", "tracking.uri='ftp://user:hunter22@host'"],
        ["config", "tracking=mlflow", "tracking.uri='http://user:hunter22@host'"],
        ["config", "--json", "tracking=mlflow", "tracking.uri='http://host?token=hunter22'"],
        ["config", "--describe", "tracking", "tracking=mlflow", "tracking.uri='http://user:hunter22@host'"],
        ["explain", "-v", "data=download", "data.url='ftp://user:hunter22@host/x.tar.gz'"],
        ["explain", "tracking.uri='http://user:hunter22@host'"],
    ],
)
def test_no_command_prints_a_password(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(command)
    shown = capsys.readouterr()
    assert "***" in shown.out + shown.err
    assert "hunter22" not in shown.out + shown.err


def test_the_traceback_of_a_bug_holds_no_password(tmp_path: Path) -> None:
    program = (
        "import harness.cli.explain as e, harness.cli, sys\n"
        "def lost(*_): raise RuntimeError('http://user:hunter22@host')\n"
        "e.config_of = lost\n"
        "sys.argv = ['bench', 'explain']\n"
        "harness.cli.main()\n"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "RuntimeError: http://***@host" in found.stderr
    assert "Traceback" in found.stderr
    assert "hunter22" not in found.stderr
