"""What a default install weighs: `python benchmarks/install_size.py`.

Claim: at most 90 packages and 1.5 GB. Counts llmwright and everything it requires, without extras.
Byte code, which Python writes when a module is first imported, is listed by itself.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def visit(name: str, seen: dict[str, tuple[int, int]]) -> None:
    """Add a distribution and what it requires: name → bytes of files, bytes of byte code."""
    key = canonical(name)
    if key in seen:
        return
    distribution = metadata.distribution(name)
    paths = [Path(str(distribution.locate_file(file))) for file in distribution.files or []]
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    code = sum(size for path, size in sizes.items() if path.suffix == ".pyc")
    seen[key] = (sum(sizes.values()) - code, code)
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            visit(requirement.name, seen)


def main() -> None:
    seen: dict[str, tuple[int, int]] = {}
    visit("llmwright", seen)
    files = sum(size for size, _ in seen.values())
    code = sum(pyc for _, pyc in seen.values())
    print(f"{len(seen)} packages, {files / 1e9:.2f} GB of files, {code / 1e9:.2f} GB of byte code")
    for name, (size, _) in sorted(seen.items(), key=lambda item: -item[1][0])[:12]:
        print(f"  {name:24} {size / 1e6:8.1f} MB")


if __name__ == "__main__":
    main()
