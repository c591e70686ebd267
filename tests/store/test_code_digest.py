"""The code digest follows imports: a change of any own source that a stage reaches changes it."""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.config.instantiate import locate
from harness.errors import ConfigError
from harness.store import code_digest as module
from harness.store import code_text
from harness.store.artifacts import ArtifactStore, key_of
from harness.store.code_digest import check_code_unchanged, code_digest, note_code, origin_of, user_code

Write = Callable[..., None]


def own_modules(*modules: str) -> set[str]:
    """The own modules that `modules` import, directly or not, themselves included, but for namespace packages."""
    return {name for name, source in module._closure(modules)[0].items() if source.origin.file is not None}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the search path; what it holds is forgotten afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
    forget()


def forget() -> None:
    """Forget what this process knows of code, as a new one would."""
    for known in (module._KNOWN, module._REACHED):
        known.clear()
    for cached in (module._library, module._changed_files, module._metadata_folders):
        cached.cache_clear()
    module._record.cache_clear()
    importlib.invalidate_caches()


def write(folder: Path, **files: str) -> None:
    """Write modules; two underscores stand for a folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path = path.with_name("__init__.py") if path.stem == "init" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def test_a_users_own_files_count_with_everything_they_import(project: Path) -> None:
    write(project, my_model="import numpy\nfrom my_helper import f\n", my_helper="def f(): return 1\n", my_other="")
    assert own_modules("my_model") == {"my_model", "my_helper"}


REACHED = {
    "a file": ("my_model", {"my_model": "from my_helper import f\n", "my_helper": "SIGN = 1\n"}, "my_helper"),
    "a module of a namespace package": ("ns.model", {"ns__model": "SIGN = 1\n"}, "ns.model"),
    "a namespace package inside one": ("ns.deep.model", {"ns__deep__model": "SIGN = 1\n"}, "ns.deep.model"),
    "a neighbour, relatively": ("ns.model", {"ns__model": "from . import x\n", "ns__x": "SIGN = 1\n"}, "ns.x"),
    "a cousin, relatively": (
        "ns.a.model",
        {"ns__a__model": "from ..b.x import SIGN\n", "ns__b__x": "SIGN = 1\n"},
        "ns.b.x",
    ),
    "the package around it": ("pk.model", {"pk__init": "SIGN = 1\n", "pk__model": "import pk\n"}, "pk"),
    "what the package around it runs": (
        "pk.model",
        {"pk__init": "import pk.patch\n", "pk__model": "", "pk__patch": "SIGN = 1\n"},
        "pk.patch",
    ),
    "a function of a package by its whole name": (
        "my_model",
        {"my_model": "import pk.sub\npk.f()\n", "pk__init": "def f():\n import lazy\n", "pk__sub": "", "lazy": ""},
        "lazy",
    ),
    "a star": ("my_model", {"my_model": "from pk import *\n", "pk__init": "__all__ = ['x']\n", "pk__x": ""}, "pk.x"),
    "a condition": (
        "my_model",
        {"my_model": "try:\n import gone_away\nexcept ImportError:\n if 1:\n  import my_helper\n", "my_helper": ""},
        "my_helper",
    ),
    "a function": ("my_model", {"my_model": "def f():\n from ns import x\n", "ns__x": ""}, "ns.x"),
    "a literal": (
        "my_model",
        {"my_model": "import importlib\nm = importlib.import_module('ns.x')\n", "ns__x": ""},
        "ns.x",
    ),
    "a relative literal": (
        "ns.model",
        {"ns__model": "from importlib import import_module as i, import_module\nimport_module('.x', __package__)\n"},
        "ns.x",
    ),
    "a circle": ("my_model", {"my_model": "import my_helper\n", "my_helper": "import my_model\n"}, "my_helper"),
    "a match": ("my_model", {"my_model": "match 1:\n case 1:\n  import my_helper\n", "my_helper": ""}, "my_helper"),
}


@pytest.mark.parametrize("how", REACHED)
def test_editing_what_is_reached_changes_the_digest(project: Path, how: str) -> None:
    root, files, edited = REACHED[how]
    file = edited.replace(".", "__")
    write(project, **({} if f"{file}__init" in files else {file: ""}) | files)
    before = code_digest(root)
    path = user_code(root)[edited][0]
    path.write_text(f"{path.read_text(encoding='utf-8')}SIGN = -1\n", encoding="utf-8")
    assert code_digest(root) != before


@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("def f(x):\n    return x + 1  # one more\n", False),
        ('"""A module."""\n\n\ndef f(x):\n    """Add one."""\n    return (\n        x + 1\n    )\n', False),
        ("def f(x):\n    return x + 1.0\n", True),
        ("def f(y):\n    return y + 1\n", True),
        ("def f(x):\n    'text'\n    return x + 1\n", False),
        ("def f(x):\n    return x + 1\nprint(f.__doc__)\n", True),
    ],
)
def test_only_what_python_runs_counts(project: Path, edited: str, counts: bool) -> None:
    write(project, my_model="def f(x):\n    return x + 1\n")
    before = code_digest("my_model")
    write(project, my_model=edited)
    assert (code_digest("my_model") != before) is counts


def test_a_docstring_counts_where_a_module_reads_its_own(project: Path) -> None:
    digests = []
    for text in ("one", "two"):
        write(project, my_model=f'"""{text}"""\nSIZE = len(__doc__)\n')
        digests.append(code_digest("my_model"))
    assert len(set(digests)) == 2


def test_editing_a_file_that_is_not_reached_changes_nothing(project: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import my_types\n"
    write(project, my_model=text, my_other="x = 1\n", my_types="")
    before = code_digest("my_model")
    write(project, my_other="x = 2\n", my_types="x = 2\n")
    assert code_digest("my_model") == before


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("from harness import paired_difference\n", "harness.evaluation.significance.bootstrap"),
        ("from baselines import Linear\n", "baselines.models.linear"),
        ("import harness\ndef f():\n return harness.Alpha158()\n", "harness.features.feature_set"),
    ],
)
def test_what_an_exported_name_stands_for_counts(project: Path, text: str, holds: str) -> None:
    write(project, my_model=text)
    found = own_modules("my_model")
    assert {"harness", "baselines"} & set(found)
    assert holds in found


def test_a_package_around_a_module_counts_for_what_it_runs_but_not_for_its_functions() -> None:
    found = own_modules("harness.samples.table")
    assert {"harness", "harness.samples.table", "harness.data.panel", "harness.data.calendar", "harness.errors"} <= set(
        found
    )
    assert "harness.samples.windows" not in found


def test_a_member_of_an_archive_and_an_extension_count_by_their_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for number, content in enumerate(("SIGN = 1\n", "SIGN = -1\n")):
        archive = project / f"code{number}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("zipped/model.py", content)
            file.writestr("zipped/__init__.py", "")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(archive))
            digests.append(code_digest("zipped.model"))
        suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
        (project / f"native{suffix}").write_bytes(content.encode())
        importlib.invalidate_caches()
        digests.append(code_digest("native"))
    assert len(set(digests)) == 4


def install(site: Path, name: str, version: str, *paths: str, listed: bool = True) -> Path:
    """Write down files of a folder as a package manager does."""
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    lines = []
    for path in paths:
        content = (site / path).read_bytes()
        checksum = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={checksum},{len(content)}" if listed else f"{path},,")
    (folder / "RECORD").write_text("\n".join([*lines, f"{folder.name}/RECORD,,"]) + "\n", encoding="utf-8")
    importlib.invalidate_caches()
    return folder


def test_an_installed_library_counts_by_its_version_and_is_not_followed(project: Path) -> None:
    write(project, my_model="import lib\n", lib__init="import lib.inner\n", lib__inner="")
    folder = install(project, "my_lib", "1.0", "lib/__init__.py", "lib/inner.py")
    assert own_modules("my_model") == {"my_model"}
    before = code_digest("my_model")
    folder.rename(folder.with_name("my_lib-1.1.dist-info"))
    forget()
    assert code_digest("my_model") != before


@pytest.mark.parametrize("listed", [True, False], ids=["with checksums", "without checksums"])
@pytest.mark.parametrize("edited", ["lib/__init__.py", "lib/inner.py"])
def test_a_file_of_a_library_that_was_changed_since_it_was_installed_counts(
    project: Path, edited: str, listed: bool
) -> None:
    if not listed and edited == "lib/inner.py":
        pytest.skip("without checksums only the files that are named by an import are read")
    write(project, my_model="import lib\n", lib__init="import lib.inner\n", lib__inner="SIGN = 1\n")
    install(project, "lib", "1.0", "lib/__init__.py", "lib/inner.py", listed=listed)
    before = code_digest("my_model")
    forget()
    os.utime(project / edited, (4e9, 4e9))
    assert code_digest("my_model") == before, "a file that is only newer is the same"
    for content in (b"SIGN = -1\n", b"SIGN =  1\n", b"SIGN = 10\n"):
        (project / edited).write_bytes(content)
        os.utime(project / edited, (4e9, 4e9))
        forget()
        assert code_digest("my_model") != before


@pytest.mark.parametrize("hook", ["a .pth file", "a finder", "metadata beside the source"])
def test_an_editable_installation_is_own_code(project: Path, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, site = project / "checkout", project / "site-packages"
    site.mkdir()
    write(source, edited__init="import edited.inner\n", edited__inner="SIGN = 1\n")
    (site / "_edited.pth").write_text(str(source), encoding="utf-8")
    install(site, "edited", "1.0", "_edited.pth")
    if hook == "a finder":
        place = str(source / "edited" / "__init__.py")

        class Finder:
            def find_spec(self, name: str, path: object = None, target: object = None) -> object:
                return importlib.util.spec_from_file_location(name, place) if name == "edited" else None

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    else:
        monkeypatch.syspath_prepend(str(source))
    if hook == "metadata beside the source":
        (source / "edited.egg-info").mkdir()
        (source / "edited.egg-info" / "top_level.txt").write_text("edited\n", encoding="utf-8")
    assert own_modules("edited") == {"edited", "edited.inner"}


def test_what_was_put_among_the_installed_files_by_hand_is_own_code(project: Path) -> None:
    site = project / "site-packages"
    write(site, lib__init="", lib__mine="SIGN = 1\n", mine="from lib import mine\n")
    sys.path.insert(0, str(site))
    install(site, "lib", "1.0", "lib/__init__.py")
    assert own_modules("mine") == {"mine"}, "a submodule of a library is like the library"
    sys.path.remove(str(site))


def test_a_module_with_the_name_of_a_standard_one_is_own_code(project: Path) -> None:
    write(project, this="SIGN = 1\n")
    assert own_modules("this") == {"this"}
    assert origin_of("json") is not None
    assert own_modules("json", "sys", "os.path") == set()


def test_the_code_of_a_class_inside_a_function_is_its_modules(project: Path) -> None:
    write(project, my_model="SIGN = 1\n")
    assert own_modules("my_model.make.<locals>") == {"my_model"}


def test_code_that_stands_in_no_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be found"):
        code_digest("written_in_a_notebook_cell")


def test_a_file_that_is_swapped_after_it_was_counted_and_before_it_is_loaded_ends_the_run(project: Path) -> None:
    write(project, my_model="def fit():\n import my_helper\n", my_helper="SIGN = 1\n")
    store = ArtifactStore(project / "store")
    key = key_of("window", code=code_digest("my_model"))

    def make(folder: Path) -> None:
        write(project, my_helper="SIGN = -1\n")
        importlib.import_module("my_helper")

    with pytest.raises(ConfigError, match="changed while the run"):
        store.get_or_make(key, make)
    assert not store.holds(key)
    assert not list(store.root.rglob(".making-*"))


def test_a_file_that_is_swapped_after_it_was_loaded_changes_nothing_until_it_is_loaded_again(project: Path) -> None:
    write(project, my_model="class Model: sign = 1\n")
    loaded: Any = locate("my_model.Model", "model")
    before = code_digest("my_model")
    check_code_unchanged()
    write(project, my_model="class Model: sign = -11\n")
    assert (code_digest("my_model"), loaded.sign) == (before, 1)
    check_code_unchanged()
    importlib.reload(sys.modules["my_model"])
    assert code_digest("my_model") != before


def test_a_file_that_is_swapped_between_being_noted_and_loaded_is_noticed(project: Path) -> None:
    write(project, my_model="SIGN = 1\n")
    note_code("my_model")
    write(project, my_model="SIGN = -11\n")
    importlib.import_module("my_model")
    with pytest.raises(ConfigError, match="changed while the run"):
        code_digest("my_model")


def test_a_module_that_was_edited_after_a_notebook_imported_it_is_noticed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write(project, my_model="SIGN = 1\n")
    importlib.import_module("my_model")
    write(project, my_model="SIGN = -11\n")
    with pytest.raises(ConfigError, match="changed after it was imported"):
        code_digest("my_model")


def test_nothing_is_imported_to_find_out(project: Path) -> None:
    write(project, my_model="import my_helper\n", my_helper="import sklearn.linear_model\nimport torch.nn\n")
    code = "import sys; from harness.store.code_digest import code_digest;"
    code += "code_digest('my_model', 'harness.run.experiment');"
    code += "print(sorted({'my_model', 'my_helper', 'sklearn', 'torch', 'harness.run.experiment'} & set(sys.modules)))"
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_digest_is_the_same_twice() -> None:
    assert code_digest("harness.samples.table") == code_digest("harness.samples.table")


def test_a_module_that_is_parsed_once_gives_the_same_imports_and_digest() -> None:
    source = b'"""Docs."""\nimport os\n\ndef f() -> None:\n    """More."""\n    import json.decoder\n'
    imported, digest = code_text.imports_and_digest("a.b", False, source)
    assert imported == code_text.imports_of("a.b", False, source) == (("os",), ("os", "json", "json.decoder"))
    assert digest == code_text.text_digest(source) != code_text.text_digest(source.replace(b"os", b"re"))


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where what modules say is noted, in a folder that is not there yet."""
    file = tmp_path / "compiled" / "notes.json"
    monkeypatch.setattr(code_text, "_notes_file", lambda: file)
    new_process()
    yield file
    new_process()


def new_process() -> None:
    for cached in (code_text._notes, code_text.imports_and_digest):
        cached.cache_clear()


def test_a_later_process_parses_no_text_that_was_noted(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = [("a.b", False, b"import os\n"), ("a.b", True, b"from . import c\n"), ("broken", False, b"import (\n")]
    found = [code_text.imports_and_digest(*one) for one in read]
    code_text.keep_notes()
    new_process()
    monkeypatch.setattr(code_text, "_parsed", lambda _: pytest.fail("parsed again"))
    assert [code_text.imports_and_digest(*one) for one in read] == found
    with pytest.raises(pytest.fail.Exception):  # another text, name or place is another module
        code_text.imports_and_digest("a", False, b"import os\n")
    assert [path.name for path in notes.parent.iterdir()] == [notes.name]


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"reader": "of another version", "texts": {}}'])
def test_notes_that_are_damaged_or_of_another_reader_do_not_count(notes: Path, damage: str) -> None:
    wrong = damage or notes_with_another_digest(notes)
    notes.parent.mkdir(exist_ok=True)
    notes.write_text(wrong, encoding="utf-8")
    new_process()
    found = code_text.imports_and_digest("a", False, b"import os\n")[1]
    assert (found == code_text.text_digest(b"import os\n")) == bool(damage)


def notes_with_another_digest(notes: Path) -> str:
    """Notes that are believed, to show that those above are not."""
    found = code_text.imports_and_digest("a", False, b"import os\n")[1]
    code_text.keep_notes()
    return notes.read_text(encoding="utf-8").replace(found, "0" * 64)


def test_notes_are_kept_nowhere_where_nothing_can_be_written(notes: Path) -> None:
    notes.parent.write_text("a file in the place of the folder", encoding="utf-8")
    code_text.imports_and_digest("a", False, b"import os\n")
    code_text.keep_notes()
    assert not notes.exists()
