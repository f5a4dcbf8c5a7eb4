"""Edict's row filters for FastAPI and SQLAlchemy.

A route whose map says `plan: true` is not judged by itself: Edict passes the request on
with a token that says which rows the caller may see. RowFilter turns it into a `where`.
"""

from .columns import Columns
from .errors import EdictError, Misconfigured, Refused, Untranslatable
from .api import Edict
from .keys import Keys, KeysFromEdict, KeysFromFile, StaticKeys
from .replay import MemoryReplayStore, ReplayStore, SQLReplayStore
from .rowfilter import RowFilter
from .translate import translate
from .verifier import Filter, FilterVerifier

__all__ = [
    "Columns",
    "Edict",
    "EdictError",
    "Filter",
    "FilterVerifier",
    "Keys",
    "KeysFromEdict",
    "KeysFromFile",
    "MemoryReplayStore",
    "Misconfigured",
    "Refused",
    "ReplayStore",
    "RowFilter",
    "SQLReplayStore",
    "StaticKeys",
    "Untranslatable",
    "translate",
]
