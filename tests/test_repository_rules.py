"""House rules that a machine can check."""

from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from oxillama import errors
from oxillama.settings import SETTINGS
from oxillama.web.error_handlers import TABLE

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for package in ("oxillama", "bench") for path in (ROOT / package).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager", "service", "data", "info"}


def settings_table() -> str:
    """The table that the README must have."""
    rows = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else "unset"
        rows.append(f"| `{setting.name}` | {default} | {setting.meaning} |")
    return "\n".join(rows)


def test_the_readme_describes_every_setting_as_the_code_does():
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- settings:.*?-->\n(.*?)<!-- end of settings -->", readme, re.DOTALL)
    assert found is not None
    assert found[1].strip() == settings_table()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_own(module: Path):
    text = module.read_text()
    assert text.count("\n") <= 300
    assert text.startswith('"""')
    assert module.stem not in FORBIDDEN_NAMES


def test_only_the_disk_changes_the_data_directory():
    """Anything else would be a step that no crash is tried at and whose error has no name."""
    calls = "write|pwrite|rename|replace|unlink|remove|mkdir|rmdir|link|symlink|truncate|ftruncate|fsync|fdatasync"
    changing = rf"\bos\.({calls})\b|\bshutil\.|\bos\.open\([^)]*O_CREAT"
    for module in (ROOT / "oxillama" / "store").glob("*.py"):
        if module.name != "disk.py":
            assert not re.search(changing, module.read_text()), module.name


def test_every_error_that_can_reach_a_caller_has_a_row_in_the_table():
    internal = {errors.ClaimLost, errors.SettingsInvalid}

    def leaves(kind: type) -> set[type]:
        below = kind.__subclasses__()
        return set().union(*map(leaves, below)) | {kind} if below else {kind}

    for kind in leaves(errors.OxillamaError) - internal - {errors.OxillamaError}:
        assert any(one in TABLE for one in kind.__mro__[:-3] if one is not errors.OxillamaError), kind


def pinned(*lists: str) -> dict[str, str]:
    lines = "\n".join((ROOT / name).read_text() for name in lists)
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", lines, re.MULTILINE)}


def test_no_version_of_what_is_installed_is_left_to_chance():
    named = pinned("requirements.txt", "requirements-dev.txt")
    brought = pinned("constraints.txt")
    wanted, seen = list(named), set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            needs = [Requirement(line) for line in metadata.requires(name) or []]
            wanted += [canonicalize_name(one.name) for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    assert seen - set(named) == set(brought), "run scripts/constrain"


def test_no_file_names_this_or_any_other_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt", ".conf", ".sh", ""}:
            assert not re.search(r"(?<![\w.])/(?:work|home|root|farm)/\w", path.read_text(errors="ignore")), name
