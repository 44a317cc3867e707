"""Texts that are no values: marks for "missing", spellings of yes and no, and codes that only look like numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["MISSING_AMONG_NUMBERS", "are_codes", "missing_marks", "truth_words"]

_DASHES = ("-", "--", "---", "\u2013", "\u2014", "\u2212")
_MARKS = frozenset(
    {"", "?", "??", *_DASHES, "n/a", "n.a.", "na", "#n/a", "<na>", "nan", "#nan", "null", "(null)", "\\n", "none"}
)
# What a text column of a DataFrame may hold that a CSV file would lose to pandas' own list as well.
_CASED = frozenset({"na", "none", "nan", "null"})
_PANDAS = frozenset({"NA", "None", "NaN", "nan", "NULL", "null"})
MISSING_AMONG_NUMBERS = _MARKS | {
    *(".", "..", "...", "*", "nil", "k.a.", "k. a.", "n.d.", "missing"),
    *("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"),
}
"""Texts, without regard to capitals, that stand for a missing value among numbers, dates and durations."""

_PAIRS = tuple(
    frozenset(pair)
    for pair in (
        ("yes", "no"),
        ("y", "n"),
        ("true", "false"),
        ("t", "f"),
        ("on", "off"),
        ("ja", "nein"),
        ("j", "n"),
        ("oui", "non"),
        ("si", "no"),
        ("sí", "no"),
    )
)
_CODE = re.compile(r"0\d+")
_DIGITS = re.compile(r"\d+")
_WIDTH = 3  # digits from which a constant width with zeros in front is a code; 01 … 12 are padded numbers


def missing_marks(texts: Iterable[str]) -> set[str]:
    """The texts among categories that mean "no value".

    A dash is a category where a plus is one, as in the results of tests.

    Args:
        texts: The different texts of a column.

    Examples:
        >>> sorted(missing_marks(["a", "b", "?", "n/a"])), missing_marks(["+", "-"])
        (['?', 'n/a'], set())
    """
    listed = [(text, text.strip()) for text in texts]
    signs = all(not any(character.isalnum() for character in bare) for _, bare in listed)
    plus = any(bare.startswith("+") for _, bare in listed)
    found = set()
    for text, bare in listed:
        low = bare.casefold()
        if low not in _MARKS or (low in _CASED and bare not in _PANDAS):
            continue
        if low in _DASHES and (plus or signs):
            continue
        found.add(text)
    return found


def truth_words(counts: Mapping[str, int]) -> dict[str, str]:
    """Spelling → the most frequent one, where all texts say yes or no in several spellings; empty otherwise.

    Args:
        counts: Rows by text.

    Examples:
        >>> truth_words({"yes": 3, "Yes": 1, "no": 2})
        {'yes': 'yes', 'Yes': 'yes', 'no': 'no'}
    """
    alike: dict[str, list[str]] = {}
    for text in counts:
        alike.setdefault(text.strip().casefold(), []).append(text)
    if len(counts) == len(alike) or not any(alike.keys() <= pair for pair in _PAIRS):
        return {}
    usual = {low: max(texts, key=lambda text: counts[text]) for low, texts in alike.items()}
    return {text: usual[text.strip().casefold()] for text in counts}


def are_codes(texts: Iterable[str]) -> bool:
    """Whether texts are whole numbers of which some begin with zeros that a number would lose.

    Texts of one width below three digits are padded numbers (months, hours), not codes.

    Args:
        texts: The different texts of a column.

    Examples:
        >>> are_codes(["01234", "99999"]), are_codes(["01", "12"]), are_codes(["0", "10"])
        (True, False, False)
    """
    widths, led = set(), False
    for text in texts:
        if _DIGITS.fullmatch(text) is None:
            return False
        widths.add(len(text))
        led = led or _CODE.fullmatch(text) is not None
    return led and (len(widths) > 1 or min(widths) >= _WIDTH)
