"""Errors that a person can correct. Each message says what is wrong, then what to do."""


class GroundworkError(Exception):
    """Base class. `status` is the HTTP status, `slug` the type of the problem (RFC 9457)."""

    status = 400
    slug = "bad-request"
    title = "The request can't be processed"


class InvalidInput(GroundworkError):
    """Raised if a question, path, option or setting is not valid."""

    status = 422
    slug = "invalid-input"
    title = "The input is not valid"


class NotFound(GroundworkError):
    """Raised if something does not exist, or the caller may not know that it exists."""

    status = 404
    slug = "not-found"
    title = "Not found"


class Unauthenticated(GroundworkError):
    """Raised if a request has no valid proof of the caller's identity."""

    status = 401
    slug = "unauthenticated"
    title = "Not signed in"


class Unavailable(GroundworkError):
    """Raised if a database, model, port or other dependency is missing or does not respond."""

    status = 503
    slug = "unavailable"
    title = "A dependency is unavailable"


class OverBudget(GroundworkError):
    """Raised if a budget is used up. `retry_after` is in whole seconds, at least 1."""

    status = 429
    slug = "over-budget"
    title = "The budget is used up"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnsafeDatabase(GroundworkError):
    """Raised at start-up if the database would not keep the data of tenants apart."""

    status = 503
    slug = "unsafe-database"
    title = "The database does not isolate tenants"


class UnreadableFile(GroundworkError):
    """Raised if a file can't become a document. `reason` is a short key for reports."""

    slug = "unreadable"
    title = "The file can't be read"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
