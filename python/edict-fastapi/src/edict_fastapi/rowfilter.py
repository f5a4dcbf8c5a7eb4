"""The FastAPI dependency that gives the rows a request may see."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from fastapi import HTTPException, Request
from sqlalchemy import ColumnElement

from .columns import Columns
from .errors import Misconfigured, Refused, Untranslatable
from .translate import translate
from .verifier import Filter, FilterVerifier

_log = logging.getLogger("edict_fastapi")

# Under this name the filter of a request is kept in its scope: its token is good for one
# use, but a route may have several dependencies.
_KEPT = "edict_fastapi.filter"


class RowFilter:
    """A dependency that gives the condition on a model's rows that Edict set.

        rows = RowFilter(Expense, {"owner": Expense.owner}, kind="expense", verifier=verifier)

        @app.get("/expenses")
        def list_expenses(where=Depends(rows)):
            return session.scalars(select(Expense).where(where)).all()

    attributes, missing_when_null, resource_id and policy_version are those of Columns. kind
    is the kind of resource that the columns are of; a filter of another kind is refused.

    A request without a good token is answered by 403, and one whose filter can't be used
    by 500, both with problem details (RFC 9457) that tell no more. The log tells.

    FastAPI runs it in a thread, for sync and async routes alike, so that neither the
    signature nor a question to Edict holds the event loop up.
    """

    def __init__(
        self,
        model: Any,
        attributes: Mapping[str, Any],
        *,
        verifier: FilterVerifier,
        kind: str,
        missing_when_null: Collection[str] = (),
        resource_id: Any = None,
        policy_version: str | None = None,
    ):
        self.columns = Columns(model, attributes, missing_when_null, resource_id, policy_version)
        self.verifier = verifier
        self.kind = kind

    def __call__(self, request: Request) -> ColumnElement[bool]:
        try:
            filter = self._filter(request.scope)
            return translate(filter.filter, self.columns)
        except Refused as e:
            _log.warning("%s %r is refused: %s", request.method, request.scope["path"], e)
            raise problem(403) from e
        except (Misconfigured, Untranslatable) as e:
            _log.error("%s %r can't be filtered: %s", request.method, request.scope["path"], e)
            raise problem(500) from e

    def _filter(self, scope: Any) -> Filter:
        kept = scope.get(_KEPT)
        if kept is None or kept[0] is not self.verifier:
            kept = scope[_KEPT] = (self.verifier, self.verifier.verify(scope))
        filter: Filter = kept[1]
        if filter.kind != self.kind:
            raise Misconfigured(f"the route's filter is for {filter.kind}, and the columns are of {self.kind}")
        return filter


def problem(status: int) -> HTTPException:
    """An answer with problem details that tell nothing but that the request can't be answered."""
    detail = "This request is not authorized." if status == 403 else "This request can't be answered."
    return HTTPException(status, detail, headers={"content-type": "application/problem+json"})


