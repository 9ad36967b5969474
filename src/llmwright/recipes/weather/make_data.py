"""Writes data/weather.csv from the phrase tables.

    python make_data.py [output.csv]

A row holds a sentence (opening, time, place, phrase, remark), its normalised form
`[time][place]天气[condition]`, the phrase, and the pattern that the phrase comes from. Adverbs of
degree, modals and scene words do not make a phrase a different phrase, so that a split by `phrase`
holds out the words that describe the weather, and not only a combination of time and place with
them. A split by `pattern` is stricter still: it holds out whole families of similar phrases.
"""

import csv
import itertools
import random
import re
import sys
from pathlib import Path
from typing import Any

import yaml

SEED = 42
PHRASES_PER_CONDITION = 500
FOLDER = Path(__file__).parent
SLOT = re.compile(r"<[dDms]>")
# These words say that the weather is there already, which a sentence about tomorrow rarely does.
PRESENT_WORDS = re.compile("[着了]")


def expand(pattern: str) -> list[str]:
    """Returns every phrase of a pattern in order; `(a|b)` is a choice, slots stay as they are."""
    parts = re.split(r"\(([^()]*)\)", pattern)
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]


def phrase_key(phrase: str) -> str:
    """Returns the phrase without its slots: the value of the column `phrase`."""
    return SLOT.sub("", phrase)


def draw_phrases(patterns: list[str], rng: random.Random) -> list[tuple[str, int]]:
    """Draws phrases so that a pattern with many expansions does not crowd out the others.

    Args:
        patterns: the patterns of one condition.
        rng: the source of randomness.

    Returns:
        PHRASES_PER_CONDITION phrases with distinct keys, or all where there are fewer, each with
        the number of its pattern.
    """
    queues = []
    for number, pattern in enumerate(patterns, 1):
        phrases = [(phrase, number) for phrase in expand(pattern)]
        rng.shuffle(phrases)
        queues.append(phrases)
    drawn: dict[str, tuple[str, int]] = {}
    while len(drawn) < PHRASES_PER_CONDITION and any(queues):
        # Longer queues are drawn from more often, but only with the square root of their length.
        queue = rng.choices(queues, weights=[len(queue) ** 0.5 for queue in queues])[0]
        if not queue:
            continue
        phrase, number = queue.pop()
        drawn.setdefault(phrase_key(phrase), (phrase, number))
    return list(drawn.values())


class Sentences:
    """Builds sentences around phrases."""

    def __init__(self, frames: dict[str, Any], rng: random.Random) -> None:
        self.frames = frames
        self.rng = rng

    def time(self, *, may_be_future: bool) -> tuple[str, str]:
        """Returns a time as it is said and as it is normalised; both empty for no time."""
        rng, frames = self.rng, self.frames
        days = list(frames["days"])
        if not may_be_future:
            days = [day for day in days if day not in ("明天", "后天")]
        part = rng.choice(list(frames["parts"]))
        kind = rng.choices(
            ["", "day", "both", "short", "part", "weekday", "next", "weekday_part", "week", "now"],
            weights=[24, 26, 13, 7, 5, 9, 4, 3, 5, 4],
        )[0]
        if kind in ("day", "both"):
            day = rng.choice(days)
            said = rng.choice(frames["days"][day])
            if kind == "day":
                return said, day
            return said + rng.choice(frames["parts"][part]), day + part
        if kind == "short":
            allowed = [s for s in frames["short_forms"] if may_be_future or not s.startswith("明")]
            said = rng.choice(allowed)
            return said, frames["short_forms"][said]
        if kind == "part":
            return rng.choice(frames["parts"][part]), part
        if kind in ("weekday", "next", "weekday_part"):
            return self._weekday(kind, part)
        if kind in ("week", "now"):
            table = frames["weeks" if kind == "week" else "now"]
            name = rng.choice(list(table))
            return rng.choice(table[name]), name
        return "", ""

    def _weekday(self, kind: str, part: str) -> tuple[str, str]:
        rng, frames = self.rng, self.frames
        name = rng.choice(list(frames["weekdays"]))
        forms = frames["next_weekday_forms" if kind == "next" else "weekday_forms"]
        number = frames["weekdays"][name]
        if number == "日" and rng.random() < 0.5:
            number = "天"
        said = rng.choice(forms) + number
        if kind == "next":
            return said, "下" + name
        if kind == "weekday_part":
            return said + rng.choice(frames["parts"][part]), name + part
        return said, name

    def place(self) -> tuple[str, str]:
        """Returns a place as it is said and as it is normalised; both empty for most sentences."""
        if self.rng.random() < 0.55:
            return "", ""
        place = self.rng.choice(self.frames["places"])
        return (place + "市" if self.rng.random() < 0.1 else place), place

    def fill(self, phrase: str, time: str) -> str:
        """Returns the phrase with words in its slots: adverbs, and modals that fit the time."""
        rng, frames = self.rng, self.frames
        tense = "present"
        if re.search("明|后天|下周", time):
            tense = "future"
        elif re.search("昨|前天", time):
            tense = "past"
        text = phrase.replace("<m>", rng.choice(frames["modals"][tense]))
        match = re.search("<[dD]>", text)
        if match is None:
            return text
        head, tail = text[: match.start()], text[match.end() :]
        word, rest = re.fullmatch(r"([^，]*)(.*)", tail).groups()  # type: ignore[union-attr]
        roll = rng.random()
        if roll < 0.12 and "了" not in word:
            suffix: str = rng.choice(frames["suffixes"])
            return head + word + suffix + rest
        if roll < 0.25 and match.group() == "<d>":
            return head + word + rest
        degree: str = rng.choice(frames["degrees"])
        return head + degree + word + ("了" if degree == "太" and "了" not in word else "") + rest

    def build(self, phrase: str, condition: str) -> tuple[str, str]:
        """Returns one sentence with this phrase and its normalised form."""
        rng, frames = self.rng, self.frames
        present = PRESENT_WORDS.search(phrase) is not None
        said_time, time = self.time(may_be_future=not present or rng.random() < 0.15)
        said_place, place = self.place()
        text = self.fill(phrase, time)
        where_when = [said_time, said_place]
        if said_place and rng.random() < 0.4:
            where_when.reverse()
        front = "".join(where_when)
        if said_time and said_place and front.startswith(said_place) and rng.random() < 0.15:
            front = said_place + "的" + said_time
        if front and rng.random() < 0.12 and "<m>" not in phrase[:3]:
            front += rng.choice(["的", "，", "，", "这边"] if said_place else ["的", "，", "，"])
        elif not said_place and rng.random() < 0.15:
            front += rng.choice(frames["scenes"])
        if rng.random() < 0.22:
            front = rng.choice(frames["openings"]) + front
        end = ""
        if rng.random() < 0.35:
            group = "any" if rng.random() < 0.3 else frames["remark_groups"][condition]
            end = "，" + rng.choice(frames["remarks"][group])
        elif rng.random() < 0.12:
            end = rng.choice(["啊", "呢", "呀", "吧", "哦", "哈"])
        end += rng.choices(["", "。", "！"], weights=[55, 35, 10])[0]
        return front + text + end, time + place + "天气" + condition


def make_rows() -> list[tuple[str, str, str, str]]:
    """Returns all rows: description, weather, phrase, pattern."""
    rng = random.Random(SEED)
    patterns: dict[str, list[str]] = {}
    for name in ("sky", "rain", "cold", "wind_heat"):
        patterns |= yaml.safe_load((FOLDER / f"phrases/{name}.yaml").read_text(encoding="utf-8"))
    frames = yaml.safe_load((FOLDER / "phrases/frames.yaml").read_text(encoding="utf-8"))
    sentences = Sentences(frames, rng)
    rows = [("今天天气很好", "今天天气晴朗", "天气好", "晴朗-01")]
    owner: dict[str, str] = {}
    for condition, lines in patterns.items():
        for phrase, number in draw_phrases(lines, rng):
            key = phrase_key(phrase)
            if owner.setdefault(key, condition) != condition:
                raise ValueError(f"the phrase {key} stands for {owner[key]} and for {condition}")
            rows.append((*sentences.build(phrase, condition), key, f"{condition}-{number:02}"))
    rng.shuffle(rows)
    return list(dict.fromkeys(rows))


def main() -> None:
    """Writes the table to the file named on the command line, or to data/weather.csv."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "data" / "weather.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("description", "weather", "phrase", "pattern"))
        writer.writerows(make_rows())


if __name__ == "__main__":
    main()
