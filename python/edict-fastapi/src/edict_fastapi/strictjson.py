"""JSON that is read in one way only, and not too deep."""

from __future__ import annotations

import json
import math
from typing import Any

# A filter is nested this deep at most, a token or a set of keys far less.
_MAX_NESTING = 200


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    ValueError tells what is wrong with it. A name that an object has twice, NaN and
    numbers beyond doubles are wrong; so is deep nesting, before anything is built of it.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")  # of its errors UnicodeDecodeError is a ValueError
    _check_nesting(text)
    return json.loads(
        text, object_pairs_hook=_members, parse_constant=_refuse, parse_float=_double, parse_int=_whole
    )


def _check_nesting(text: str) -> None:
    depth, in_text, escaped = 0, False, False
    for c in text:
        if in_text:
            if escaped:
                escaped = False
            elif c == "\\":
                escaped = True
            elif c == '"':
                in_text = False
        elif c == '"':
            in_text = True
        elif c in "[{":
            depth += 1
            if depth > _MAX_NESTING:
                raise ValueError("nested too deep")
        elif c in "]}":
            depth -= 1


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name occurs twice")
    return out


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _double(text: str) -> float:
    out = float(text)
    if not math.isfinite(out):
        raise ValueError("a number beyond doubles")
    return out


def _whole(text: str) -> int | float:
    # Longer ones are doubles to whoever wrote them.
    return int(text) if len(text) <= 18 else _double(text)
