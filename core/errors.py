"""Every error a person can cause. The message is one sentence that says what is wrong and how to mend it."""


class GroundworkError(Exception):
    """Something a person can mend. `status` is the HTTP status, `slug` the type of the problem (RFC 9457)."""

    status = 400
    slug = "bad-request"
    title = "The request can't be carried out"


class InvalidInput(GroundworkError):
    """The question, path or option given can't be used as it is."""

    status = 422
    slug = "invalid-input"
    title = "The input can't be used"


class NotFound(GroundworkError):
    """There is no such thing, or the caller may not know that there is."""

    status = 404
    slug = "not-found"
    title = "Not found"


class Unauthenticated(GroundworkError):
    """The caller did not prove who they are."""

    status = 401
    slug = "unauthenticated"
    title = "Not signed in"


class Unavailable(GroundworkError):
    """Something Groundwork needs (the database, a model, a port) is missing or does not answer."""

    status = 503
    slug = "unavailable"
    title = "A dependency is unavailable"


class OverBudget(GroundworkError):
    """A budget is used up; `retry_after` is the whole seconds until it resets, at least 1."""

    status = 429
    slug = "over-budget"
    title = "The budget is used up"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnsafeDatabase(GroundworkError):
    """The database would not keep tenants apart; the service refuses to run on it."""

    status = 503
    slug = "unsafe-database"
    title = "The database does not isolate tenants"


class UnreadableFile(GroundworkError):
    """A file that can't become a document; `reason` is a short word for tables, the message a sentence."""

    slug = "unreadable"
    title = "The file can't be read"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
