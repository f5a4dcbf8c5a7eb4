"""What can go wrong, and who is to blame.

Refused is about the request: whoever sent it gets 403 and no reason. Misconfigured and
Untranslatable are about the service: 500, and the log says why.
"""

from __future__ import annotations


class EdictError(Exception):
    """What all errors of this package have in common. Its text is for logs, not for clients."""


class Refused(EdictError):
    """The request brought no filter that can be trusted."""


class Misconfigured(EdictError):
    """The service, its server or its mapping is not set up as filters need it."""


class Untranslatable(EdictError):
    """The filter can't be said in SQL exactly, by the columns that it was given."""
