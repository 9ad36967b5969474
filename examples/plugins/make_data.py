"""Write data/messages.csv: messages put together from phrase tables of our own."""

from __future__ import annotations

import csv
import itertools
import random
from pathlib import Path

OPENINGS = ("Hello,", "Hi team,", "Good morning,", "", "Please help:", "Dear support,")
PROBLEMS = {
    "billing": (
        "I was charged twice for {month}",
        "the invoice of {month} shows the wrong amount",
        "my refund for {month} has not arrived",
        "you took the {month} payment from an old card",
        "can I get a receipt for {month}",
    ),
    "delivery": (
        "the parcel from {month} never arrived",
        "my order of {month} came damaged",
        "the courier left the {month} shipment at the wrong door",
        "tracking for the {month} delivery stopped",
        "half of the {month} order is missing",
    ),
    "login": (
        "my password is refused since {month}",
        "I lost the phone with the login codes in {month}",
        "the account was locked in {month}",
        "the reset mail of {month} never came",
        "I cannot sign in after the {month} update",
    ),
    "outage": (
        "the whole site is down like in {month}",
        "nothing loads, same error as in {month}",
        "all pages time out since early {month}",
        "the server answers with error 500 as in {month}",
        "the service is unreachable for everybody, worse than {month}",
    ),
}
MONTHS = ("January", "March", "June", "October")
ENDINGS = ("Thanks.", "Please answer soon.", "", "This is urgent!", "Regards")


def messages(seed: int) -> list[tuple[str, str]]:
    """Return (message, topic) pairs, each message once."""
    chance = random.Random(seed)
    found: dict[str, str] = {}
    for topic, problems in PROBLEMS.items():
        for problem, month in itertools.product(problems, MONTHS):
            for opening, ending in chance.sample(list(itertools.product(OPENINGS, ENDINGS)), 4):
                words = (opening, problem.format(month=month) + ".", ending)
                number = f"[#{chance.randint(10000, 99999)}]" if chance.random() < 0.6 else ""
                found[" ".join(filter(None, (number, *words)))] = topic
    pairs = list(found.items())
    chance.shuffle(pairs)
    return pairs


if __name__ == "__main__":
    file = Path(__file__).parent / "data" / "messages.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["message", "topic"])
        writer.writerows(messages(seed=1))
