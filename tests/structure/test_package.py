"""What the package claims is what was tested, and its source package can be built from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_lowest_version_that_is_claimed_is_the_tested_one() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    tested = {canonicalize_name(n): Version(v) for n, v in (line.split("==") for line in lines)}
    claimed = map(Requirement, SETTINGS["project"]["dependencies"])
    wrong = {
        one.name: (str(spec), str(tested[canonicalize_name(one.name)]))
        for one in claimed
        for spec in one.specifier
        if spec.operator == ">=" and Version(spec.version) != tested[canonicalize_name(one.name)]
    }
    assert wrong == {}


def test_the_source_package_has_what_the_makefile_needs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    needed = {word.split("/")[0] for word in re.findall(r"\b[\w.]+/\w+\.(?:sh|py)\b", makefile)}
    included = set(SETTINGS["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    assert {"scripts", "benchmarks"} <= needed <= included


def test_the_makefile_changes_no_variable_that_programs_read() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = set(re.findall(r"^(\w+) *[:?]?=", makefile, re.MULTILINE))
    assert not names & {"USER", "HOME", "PATH", "LOGNAME", "SHELL", "LANG", "TMPDIR"}
