"""Words that have an order: low, medium, high; never, sometimes, always; 18-24, 25-34, 65+."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["in_order"]

_SCALES = tuple(
    tuple(scale.split("|"))
    for scale in (
        "very low|low|medium low|medium|middle|moderate|normal|medium high|high|very high",
        "none|no|absent|minimal|slight|some|mild|moderate|marked|severe|very severe|extreme|critical",
        "xxs|xs|s|m|l|xl|xxl|xxxl",
        "tiny|small|medium|large|huge",
        "tiny|extra small|small|medium|large|extra large|huge",
        "never|almost never|rarely|seldom|sometimes|occasionally|often|usually|always",
        "strongly disagree|disagree|neutral|undecided|agree|strongly agree",
        "very bad|bad|poor|fair|ok|neutral|good|very good|excellent",
        "very poor|poor|fair|average|ok|good|very good|premium|ideal|excellent",
        "worse|same|better|much better",
        "first|second|third|fourth|fifth",
        "1st|2nd|3rd|4th|5th",
        "very dissatisfied|dissatisfied|neutral|satisfied|very satisfied",
        "beginner|intermediate|advanced|expert",
        "cold|cool|mild|warm|hot",
        "i|ii|iii|iv|v|vi|vii|viii|ix|x",
        "niedrig|mittel|hoch",
        "faible|moyen|élevé",
    )
)
_RANGE = re.compile(r"[<≤>≥]?\s*(\d+(?:\.\d+)?)\s*(?:(?:-|–|to)\s*(\d+(?:\.\d+)?)|\+)?")


def in_order(texts: Iterable[str]) -> list[str]:
    """Three texts or more from lowest to highest, where they are a known scale or ranges of numbers; nothing otherwise.

    Args:
        texts: The different texts of a column.

    Examples:
        >>> in_order(["High", "low", "medium"]), in_order(["65+", "18-24", "25-64", "<18"]), in_order(["a", "b", "c"])
        (['low', 'medium', 'High'], ['<18', '18-24', '25-64', '65+'], [])
    """
    places: dict[str, str] = {}
    for text in texts:
        places.setdefault(" ".join(re.split(r"[\s_-]+", text.strip().casefold())), text)
    listed = list(texts)
    if len(listed) < 3:
        return []
    if len(places) == len(listed):
        for scale in _SCALES:
            if places.keys() <= set(scale):
                return [places[word] for word in scale if word in places]
    found = [_RANGE.fullmatch(text.strip()) for text in listed]
    if not all(found) or not any(match and match[2] for match in found):
        return []
    keys = {text: _from(text.strip(), match) for text, match in zip(listed, found, strict=True) if match}
    return sorted(listed, key=keys.__getitem__) if len(set(keys.values())) == len(listed) else []


def _from(text: str, match: re.Match[str]) -> tuple[float, int]:
    """Where a range begins: below its number for one that is open to below."""
    return float(match[1]), -1 if text[0] in "<≤" else 1 if text[0] in ">≥" else 0
