"""Answers in Harbor's error format."""


class FailedError(Exception):
    """One of them; `headers` go with it."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.headers = {}
        self.body = {"errors": [{"code": code, "message": message}]}


def unauthorized(message="unauthorized"):
    return FailedError(401, "UNAUTHORIZED", message)


def forbidden(message):
    return FailedError(403, "FORBIDDEN", message)


def not_found(what):
    return FailedError(404, "NOT_FOUND", f"{what} not found")


def bad(message):
    return FailedError(400, "BAD_REQUEST", message)


def conflict(message):
    return FailedError(409, "CONFLICT", message)


def precondition(message):
    return FailedError(412, "PRECONDITION", message)


def internal():
    """What is behind it stands in Harbor's log alone."""
    return FailedError(500, "UNKNOWN", "internal server error")


def not_implemented(what):
    return FailedError(501, "NOT_IMPLEMENTED", f"this fake Harbor does not implement {what}")
