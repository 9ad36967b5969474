"""What people install holds everything a first run needs, and nothing that is only for us."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_BYTES = 4_000_000


@pytest.mark.slow
def test_the_wheel_holds_recipes_texts_and_pages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir"]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < MAX_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = ROOT / "src"
    kept = [p for p in (source / "llmwright").rglob("*") if p.is_file()]
    expected = {p.relative_to(source).as_posix() for p in kept if "__pycache__" not in p.parts}
    assert expected <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
