"""Make the demo's 1,000 subscribers; they are invented, and the same ones each time.

`python -m pgflow.demo.generate_subscribers > src/pgflow/demo/subscribers.csv`
"""

import csv
import sys
import unicodedata
from collections.abc import Iterator
from typing import TextIO

COUNT = 1_000
BUSY_EVERY = 125
"""Each 125th subscriber's server answers `450 busy` to the first message: 8 of 1,000."""
GONE = (266, 733)
"""Subscribers whose mailbox does not exist: `550`, whatever is tried."""

_NAMES = {
    "en": "Alice Benjamin Charlotte Dylan Eleanor Finn Grace Henry",
    "de": "Anneliese Björn Clara Dörte Emil Friederike Günther Hanna",
    "es": "Adrián Begoña Carlos Daniela Íñigo Lucía Martín Sofía",
    "fr": "Aurélie Benoît Chloé Étienne Gaëlle Hugo Inès Zoé",
    "pl": "Agnieszka Błażej Celina Józef Łukasz Małgorzata Stanisław Żaneta",
}
_SURNAMES = """
    Ångström Baker Castellón Dąbrowska Eriksen Fournier Grünwald Hayashi Ibrahim Jovanović Kowalczyk
    Lindqvist Muñoz Novák O'Connor Papadopoulos Quispe Rossi Şahin Takács Ueda Vandenberghe Whitfield
    Yamada Zhang
"""
_ASCII = str.maketrans({"ł": "l", "ß": "ss", "'": ""})
_STRIDE = 617
"""Coprime to 1,000, so that every pair of a name and a surname appears once, well mixed."""


def subscribers() -> Iterator[tuple[int, str, str, str]]:
    """Yield id, name, e-mail address and language of each subscriber."""
    surnames = _SURNAMES.split()
    people = [(name, language) for language, names in _NAMES.items() for name in names.split()]
    for number in range(1, COUNT + 1):
        person, surname = divmod(number * _STRIDE % COUNT, len(surnames))
        name, language = people[person]
        local_part = f"{_ascii(name)}.{_ascii(surnames[surname])}"
        yield number, f"{name} {surnames[surname]}", f"{local_part}@{_domain(number)}", language


def _domain(number: int) -> str:
    if number in GONE:
        return "gone.example.org"
    if number % BUSY_EVERY == BUSY_EVERY // 2:
        return "busy.example.org"
    return "example.com" if number % 3 else "example.org"


def _ascii(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word.lower().translate(_ASCII))
    return decomposed.encode("ascii", "ignore").decode()


def write(target: TextIO) -> None:
    """Write the CSV file, with its header."""
    rows = csv.writer(target, lineterminator="\n")
    rows.writerow(("id", "name", "email", "language"))
    rows.writerows(subscribers())


if __name__ == "__main__":
    write(sys.stdout)
