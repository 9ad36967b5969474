"""Sharing rows out between training, validation and test without leaks.

Rows that ask the same question (`content.input_key`) or have the same group form one component,
and a component lies in one split as a whole. Stratified splits deal the components of each label
separately; a component with several labels counts for the one that has the fewest components.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from llmwright.core.errors import ConfigError, InputError
from llmwright.core.locale import text as sentence
from llmwright.data.config import SplitConfig
from llmwright.data.content import input_key
from llmwright.data.records import SPLITS, Numbers, RowType, SplitName

Row = dict[str, Any]
Say = Callable[[str, Literal["info", "warning"]], None]
Splits = list[SplitName | None]
Shares = dict[SplitName, float]
Component = list[int]

DEFAULT_SHARE = 0.1
# With fewer different texts, a class cannot give one to each split and still be learnt.
MIN_COMPONENTS = 5
_MAX_NAMES = 10
# A control is a style; more values are a text.
MAX_CONTROL_VALUES = 64


@dataclass
class Ledger:
    """What splitting must know of each row, in reading order.

    Attributes:
        keys: Digest of the question.
        groups: The user's group, None where there is none.
        labels: Labels or tags that occur.
        given: The split the row's file was given for.
        values: Numbers to be predicted; empty for other row types.
        controls: Values of the controls; empty without any.
    """

    row_type: RowType
    keys: list[bytes] = field(default_factory=list)
    groups: list[str | None] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    given: Splits = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    controls: list[dict[str, str | None]] = field(default_factory=list)

    def add(self, row: Row, given: SplitName | None) -> None:
        """Take note of a row."""
        self.keys.append(input_key(row))
        self.groups.append(row.get("group"))
        self.given.append(given)
        if "value" in row:
            self.values.append(row["value"])
        if "controls" in row:
            self.controls.append(row["controls"])
        if "label" in row:
            self.labels.append((row["label"],))
        else:
            self.labels.append(tuple(sorted(set(row.get("labels") or row.get("tags") or ()))))

    def label_names(self) -> list[str]:
        """Return all labels, sorted."""
        return sorted({label for labels in self.labels for label in labels})


def method_of(ledger: Ledger, config: SplitConfig, shape: str) -> str:
    """Return the method that ``auto`` stands for, or the user's after checking it.

    Raises:
        ConfigError: Stratified without labels (``DATA-045``), or given without given splits
            (``DATA-046``).
    """
    has_given = any(ledger.given)
    if config.method == "given" and not has_given:
        raise ConfigError("DATA-046")
    if config.method == "stratified" and ledger.row_type != "classification":
        raise ConfigError("DATA-045", shape=shape)
    if has_given and not shares_of(ledger, config):
        return "given"
    if config.method != "auto":
        return config.method
    if ledger.row_type == "classification":
        return "stratified"
    return "sequential" if ledger.row_type == "text" and len(_pool(ledger)) == 1 else "random"


def _pool(ledger: Ledger) -> list[int]:
    """Return the rows that are not given for validation or test."""
    return [index for index, split in enumerate(ledger.given) if split in (None, "train")]


def only_text(ledger: Ledger, method: str, shares: Shares) -> int | None:
    """Return the row to be cut by characters: the only text there is to train on."""
    pool = _pool(ledger)
    is_one = ledger.row_type == "text" and len(pool) == 1
    return pool[0] if is_one and method == "sequential" and any(shares.values()) else None


def shares_of(ledger: Ledger, config: SplitConfig) -> Shares:
    """Return the shares to cut from what is not given; next to given splits, see `SplitConfig`."""
    given = set(ledger.given)
    shares: dict[SplitName, float | None] = {
        "validation": config.validation,
        "test": config.test,
    }
    if config.method == "given":
        return {}
    if given == {None}:
        return {name: DEFAULT_SHARE if s is None else s for name, s in shares.items()}
    if shares["validation"] is None:
        shares["validation"] = DEFAULT_SHARE
    return {name: share for name, share in shares.items() if share and name not in given}


def share_out(ledger: Ledger, config: SplitConfig, method: str, shares: Shares, say: Say) -> Splits:
    """Return the split of each row, None for a row that is left out.

    Args:
        ledger: The rows.
        config: What the user set.
        method: From `method_of`.
        shares: From `shares_of`.
        say: Takes a sentence and its level.

    Raises:
        InputError: No rows for training (``DATA-044``).
    """
    splits: Splits = list(ledger.given)
    pool = _pool(ledger)
    for index in pool:
        splits[index] = "train"
    wanted = {name: share for name, share in shares.items() if share and pool}
    components = find_components(ledger, pool)
    if wanted and len(components) < MIN_COMPONENTS:
        names = ", ".join(wanted)
        say(sentence("data.split_tiny", minimum=MIN_COMPONENTS, splits=names), "warning")
    elif wanted and method == "sequential":
        _cut(components, wanted, splits)
    elif wanted:
        strata = {"": components}
        if method == "stratified":
            strata, counts = strata_of(ledger, components)
            _tell_small(counts, say)
        _deal(strata, wanted, config.seed, splits)
    _handle_leaks(ledger, config, splits, say)
    if "train" not in splits:
        raise InputError("DATA-044")
    _tell_unused(ledger, config, method, say)
    for name in wanted:
        if name not in splits and len(components) >= MIN_COMPONENTS:
            say(sentence("data.split_empty", split=name), "warning")
    return splits


def _tell_unused(ledger: Ledger, config: SplitConfig, method: str, say: Say) -> None:
    """Say which settings the given splits leave nothing to do for."""
    given = set(ledger.given)
    set_to = {"validation": config.validation, "test": config.test}
    unused = [
        f"{name}: {share}"
        for name, share in set_to.items()
        if share and (name in given or (method == "given" and given != {None}))
    ]
    if method == "given" and config.method not in ("auto", "given"):
        unused.append(f"method: {config.method}")
    if unused:
        say(sentence("data.split_unused", options=", ".join(unused)), "warning")


def find_components(ledger: Ledger, members: Sequence[int]) -> list[Component]:
    """Return the rows that must stay together, in order of their first row."""
    parent = {index: index for index in members}

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[object, int] = {}
    for index in members:
        for mark in (ledger.keys[index], ledger.groups[index]):
            if mark is not None:
                parent[root(index)] = root(first.setdefault(mark, index))
    components: dict[int, Component] = {}
    for index in members:
        components.setdefault(root(index), []).append(index)
    return list(components.values())


def strata_of(
    ledger: Ledger, components: Sequence[Component]
) -> tuple[dict[str, list[Component]], Counter[str]]:
    """Return the components by label, each by its rarest one, and how many each label has.

    So a label with too few components has all of them in a stratum that is too small to be dealt.
    """
    found = [
        {label for index in component for label in ledger.labels[index]} for component in components
    ]
    counts = Counter(label for labels in found for label in labels)
    strata: dict[str, list[Component]] = {}
    for component, its in zip(components, found, strict=True):
        rarest = min(its, key=lambda label: (counts[label], label), default="")
        strata.setdefault(rarest, []).append(component)
    return dict(sorted(strata.items())), counts


def _tell_small(counts: Counter[str], say: Say) -> None:
    if small := sorted(label for label, count in counts.items() if count < MIN_COMPONENTS):
        labels = names_of(small)
        say(sentence("data.split_small", minimum=MIN_COMPONENTS, labels=labels), "warning")


def _deal(strata: dict[str, list[Component]], shares: Shares, seed: int, splits: Splits) -> None:
    """Give each split its share of every stratum that is large enough, in a shuffled order."""
    for label, components in strata.items():
        if len(components) < MIN_COMPONENTS:
            continue
        waiting = list(components)
        random.Random(f"{seed}:{label}").shuffle(waiting)
        num_rows = sum(map(len, waiting))
        for name, share in shares.items():
            taken, waiting = _take(waiting, max(1, round(num_rows * share)), num_rows // 3)
            for index in taken:
                splits[index] = name


def _take(
    waiting: Sequence[Component], target: int, largest: int
) -> tuple[Component, list[Component]]:
    """Return about ``target`` rows of the first components, and the components that are left.

    A component larger than the target is only taken first, and only up to ``largest`` rows.
    """
    taken: Component = []
    left: list[Component] = []
    for component in waiting:
        fits = len(taken) + len(component) <= target
        if fits or (not taken and len(component) <= largest):
            taken += component
        else:
            left.append(component)
    return taken, left


def _cut(components: Sequence[Component], shares: Shares, splits: Splits) -> None:
    """Give the first rows to training, then to validation, then to test."""
    num_rows = sum(map(len, components))
    bounds = _bounds(num_rows, shares)
    done = 0
    for component in components:
        name = next(name for name in SPLITS if done < bounds[name])
        for index in component:
            splits[index] = name
        done += len(component)


def _bounds(total: int, shares: Shares) -> dict[SplitName, int]:
    """Return where each split ends when ``total`` things are cut in order."""
    validation, test = shares.get("validation", 0.0), shares.get("test", 0.0)
    # Rounding first: 1 - 0.1 - 0.2 is a little less than 0.7 in binary.
    train_end = max(1, int(round(1 - validation - test, 9) * total))
    return {
        "train": train_end,
        "validation": max(train_end, int(round(1 - test, 9) * total)),
        "test": total,
    }


def cut_text(text: str, shares: Shares) -> dict[SplitName, str]:
    """Return the parts of one text cut by characters: first training, last test."""
    bounds = _bounds(len(text), shares)
    start, parts = 0, {}
    for name, end in bounds.items():
        if end > start:
            parts[name] = text[start:end]
        start = end
    return parts


def _handle_leaks(ledger: Ledger, config: SplitConfig, splits: Splits, say: Say) -> None:
    """Find rows that given splits share; warn, and remove them from training when asked."""
    if not any(ledger.given):
        return
    marks = list(zip(ledger.keys, ledger.groups, strict=True))
    held_out: dict[str, set[object]] = {"validation": set(), "test": set()}
    for split, both in zip(splits, marks, strict=True):
        if split in held_out:
            held_out[split].update(mark for mark in both if mark is not None)
    everything = held_out["validation"] | held_out["test"]
    leaks = [
        index
        for index, both in enumerate(marks)
        if splits[index] == "train" and not everything.isdisjoint(both)
    ]
    if leaks and config.leaks == "remove":
        for index in leaks:
            splits[index] = None
        say(sentence("data.leaks_removed", count=len(leaks)), "info")
    elif leaks:
        say(sentence("data.leaks", count=len(leaks)), "warning")
    if overlap := sum(
        split == "test" and not held_out["validation"].isdisjoint(both)
        for split, both in zip(splits, marks, strict=True)
    ):
        say(sentence("data.overlap", count=overlap), "warning")


def numbers_of(ledger: Ledger, splits: Splits) -> Numbers | None:
    """Return what the numbers of the training rows look like; None for other row types.

    Raises:
        InputError: They are all the same (``DATA-051``).
    """
    if ledger.row_type != "regression":
        return None
    pairs = zip(ledger.values, splits, strict=True)
    values_N = np.array([value for value, split in pairs if split == "train"])
    low, high, std = float(values_N.min()), float(values_N.max()), float(values_N.std())
    if low == high or not std > 0:
        raise InputError("DATA-051", value=f"{low:g}")
    return Numbers(mean=float(values_N.mean()), std=std, min=low, max=high)


def controls_of(ledger: Ledger, splits: Splits, say: Say) -> dict[str, list[str]]:
    """Return the values of each control in the training rows, sorted; say which others occur.

    Raises:
        InputError: A column has too many values to be learned (``DATA-054``), or none at all
            (``DATA-055``).
    """
    found: dict[str, list[str]] = {}
    for name in ledger.controls[0] if ledger.controls else ():
        seen: dict[SplitName, set[str]] = {split: set() for split in SPLITS}
        for controls, split in zip(ledger.controls, splits, strict=True):
            if split is not None and (value := controls[name]) is not None:
                seen[split].add(value)
        values = sorted(seen["train"])
        if not values:
            raise InputError("DATA-055", column=name)
        if len(values) > MAX_CONTROL_VALUES:
            shown = names_of(values)
            raise InputError("DATA-054", column=name, limit=MAX_CONTROL_VALUES, values=shown)
        for split in SPLITS[1:]:
            if unseen := sorted(seen[split] - seen["train"]):
                shown = names_of(unseen)
                said = sentence("data.unseen_styles", column=name, split=split, values=shown)
                say(said, "warning")
        found[name] = values
    return found


def check_labels(ledger: Ledger, splits: Splits, say: Say) -> None:
    """Check that training has seen every label.

    Raises:
        InputError: Only one label (``DATA-042``), or validation or test has a label that training
            lacks (``DATA-043``). An unseen tag is only said: rare tags are common.
    """
    if ledger.row_type not in ("classification", "tags"):
        return
    # Several labels in all rows, or none in any, are as little to learn as one.
    if ledger.row_type == "classification" and len(set(ledger.labels)) < 2:
        raise InputError("DATA-042", label=names_of(ledger.label_names()) or "-")
    seen: dict[SplitName, set[str]] = {name: set() for name in SPLITS}
    for split, labels in zip(splits, ledger.labels, strict=True):
        if split is not None:
            seen[split].update(labels)
    for split in SPLITS[1:]:
        unseen = sorted(seen[split] - seen["train"])
        if unseen and ledger.row_type == "classification":
            raise InputError("DATA-043", split=split, labels=names_of(unseen))
        if unseen:
            say(sentence("data.unseen_tags", split=split, labels=names_of(unseen)), "warning")


def names_of(labels: Sequence[str]) -> str:
    """Return labels as a sentence names them: not more than ten."""
    more = f" … ({len(labels)})" if len(labels) > _MAX_NAMES else ""
    return ", ".join(labels[:_MAX_NAMES]) + more
