"""Files and modules that a user's module only names in a text count as its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.store.code_digest import check_code_unchanged, code_digest, user_code
from harness.store.code_text import Strings, named_places, strings_of
from tests.store.test_code_digest import forget, project  # noqa: F401 - the fixture

HERE = "from pathlib import Path\nHERE = Path(__file__).parent\n"
NAMED = {
    "a file beside it": ("m", f"{HERE}S = (HERE / 'c.json').read_text()\n", "c.json"),
    "its own name with another ending": (
        "m",
        "from pathlib import Path\nP = Path(__file__).with_suffix('.json')\n",
        "m.json",
    ),
    "what an archive holds": ("m", f"{HERE}import zipfile\nS = zipfile.ZipFile(HERE / 'c.zip')\n", "c.zip"),
    "a file in a folder": ("m", f"{HERE}S = (HERE / 'conf' / 'c.yaml').read_text()\n", "conf/c.yaml"),
    "a file above it": ("pk.m", "from pathlib import Path\nP = Path(__file__).parents[1] / 'c.toml'\n", "c.toml"),
    "a computed name": ("m", f"{HERE}N = 'c'\nS = (HERE / f'{{N}}.json').read_text()\n", "c.json"),
    "what a pattern matches": ("m", f"{HERE}S = list(HERE.glob('*.txt'))\n", "a.txt"),
    "what a folder holds": ("m", f"{HERE}S = list((HERE / 'weights').iterdir())\n", "weights/a"),
    "what a hidden folder holds": ("m", f"{HERE}S = list((HERE / '.weights').iterdir())\n", ".weights/a"),
    "what is far inside a hidden folder": ("m", f"{HERE}S = list((HERE / '.w/x').iterdir())\n", ".w/x/a"),
    "a resource of the package": (
        "pk.m",
        "from importlib.resources import files\nS = files('pk').joinpath('c.json')\n",
        "pk/c.json",
    ),
    "arrays read in a function": ("m", f"{HERE}def fit():\n    return np.load(HERE / 'w.npy')\n", "w.npy"),
    "code that is run from a file": ("m", f"{HERE}exec((HERE / 'body.py').read_text())\n", "body.py"),
    "an import in a text": ("m", "exec('from hlp import S')\n", "hlp.py"),
    "a module by a computed name": (
        "pk.m",
        "import importlib as i\ni.import_module(f'{__package__}.hlp')\n",
        "pk/hlp.py",
    ),
    "a module by a constant": ("m", "from importlib import import_module as im\nN = 'hlp'\nim(N)\n", "hlp.py"),
    "a folder put on the path": (
        "m",
        f"{HERE}import sys\nsys.path.insert(0, str(HERE / 'lib'))\nimport hlp\n",
        "lib/hlp.py",
    ),
    "what such a module imports": (
        "m",
        f"{HERE}import sys\nsys.path.insert(0, str(HERE / 'lib'))\ndef fit():\n    from pk2.a import S\n",
        "lib/pk2/a.py",
    ),
}


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    forget()


@pytest.mark.parametrize("how", NAMED)
def test_editing_what_a_users_module_names_in_a_text_changes_the_digest(project: Path, how: str) -> None:  # noqa: F811
    module, text, named = NAMED[how]
    put(project, f"{module.replace('.', '/')}.py", text)
    put(project, named, "S = 1\n")
    before, files_before = code_digest(module), user_code(module)
    put(project, named, "S = -1\n")
    assert code_digest(module) != before
    assert user_code(module) != files_before  # so that both runs are kept
    put(project, named, "S = 1\n")
    assert code_digest(module) == before


def test_a_file_beside_a_module_that_it_does_not_name_or_only_writes_counts_for_nothing(project: Path) -> None:  # noqa: F811
    text = f"""{HERE}LOG = HERE / "log.csv"
def fit():
    count = HERE / "count.txt"
    count.write_text(count.read_text() + "1")
    with open(HERE / "fits.txt", "a") as fits:
        fits.write("fitted")
    LOG.open("a").write("fitted")
    with zipfile.ZipFile(HERE / "fits.zip", "w") as archive, gzip.GzipFile(HERE / "fits.gz", "wb") as packed:
        packed.write(b"fitted")
"""
    put(project, "m.py", text)
    before = code_digest("m")
    for name in ("log.csv", "count.txt", "fits.txt", "other.json", "fitted.py", "fits.zip", "fits.gz"):
        put(project, name, "S = 1\n")
    assert code_digest("m") == before


def test_two_asterisks_in_a_text_name_no_files(project: Path) -> None:  # noqa: F811
    put(project, "m.py", "OPERATORS = {'**': pow, 'a**': 2}\n")
    before = code_digest("m")
    put(project, "a/run.log/result.json", "1")
    put(project, "any.json", "1")
    assert code_digest("m") == before


def test_what_lies_in_a_folder_of_tools_counts_for_nothing_as_the_growing_store_does(project: Path) -> None:  # noqa: F811
    text = f"{HERE}STORE, OTHERS = HERE / '.bench/store', [HERE / '.git', *(HERE / '.bench').iterdir()]\n"
    put(project, "pk/m.py", text)
    before = code_digest("pk.m")
    for name in ("pk/.bench/store/window/a/score.npy", ".bench/store/b.npy", "pk/.bench/.git/c", ".git/store/d"):
        put(project, name, "1")
    assert code_digest("pk.m") == before


def test_a_folder_above_is_not_hidden(project: Path) -> None:  # noqa: F811
    put(project, "pk/m.py", f"{HERE}FILES = list((HERE / '../weights').iterdir())\n")
    put(project, "weights/a", "1")
    before = code_digest("pk.m")
    put(project, "weights/a", "2")
    assert code_digest("pk.m") != before


def test_folders_that_lead_back_to_each_other_are_looked_through_once(project: Path) -> None:  # noqa: F811
    names = [f"f{at}" for at in range(12)]
    put(project, "pk/m.py", f"{HERE}FILES = [list((HERE / one).iterdir()) for one in {[f'../{n}' for n in names]}]\n")
    for name in names:
        put(project, f"{name}/a", "1")
    (project / "f0" / "back").symlink_to(project, target_is_directory=True)
    before = code_digest("pk.m")
    for changed in ("f0/a", "f11/a"):
        put(project, changed, "2")
        assert code_digest("pk.m") != before
        put(project, changed, "1")
    assert code_digest("pk.m") == before


def test_a_folder_at_the_root_of_the_machine_has_nothing_to_do_with_a_name(project: Path) -> None:  # noqa: F811
    file = Path(project.anchor, "app", "m.py")
    machines = next(folder.name for folder in sorted(Path(project.anchor).iterdir()) if folder.is_dir())
    folders, files = named_places(file, Strings(texts=(machines,), lists=True))
    assert (folders, files) == ([file.parent], [])


def test_a_pattern_matches_nothing_of_the_growing_store(project: Path) -> None:  # noqa: F811
    put(project, "m.py", f"{HERE}FILES = list(HERE.glob('**/*.json'))\n")
    put(project, "far/away/a.json", "1")
    before = code_digest("m")
    put(project, ".bench/store/window/a/manifest.json", "1")
    assert code_digest("m") == before
    put(project, "far/away/a.json", "2")
    assert code_digest("m") != before


def test_many_named_files_are_read_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    put(project, "m.py", f"{HERE}FILES = list((HERE / 'weights').iterdir())\n")
    (project / "weights").mkdir()
    for at in range(5000):
        (project / "weights" / str(at)).touch()
    forget()
    code_digest("m")

    def read(file: Path) -> str:
        raise AssertionError(f"{file} is read again")

    monkeypatch.setattr("harness.store.code_digest.fingerprint_file", read)
    check_code_unchanged()


def test_a_named_file_that_changes_while_a_run_goes_on_ends_it(project: Path) -> None:  # noqa: F811
    put(project, "m.py", f"{HERE}S = (HERE / 'c.json').read_text()\n")
    put(project, "c.json", "1")
    code_digest("m")
    check_code_unchanged()
    (project / "c.json").write_text("-1", encoding="utf-8")
    with pytest.raises(ConfigError, match="was changed while the run was going on"):
        check_code_unchanged()


def test_strings_of_what_is_no_python_are_none() -> None:
    assert strings_of("m", False, b"\x00(").texts == ()
