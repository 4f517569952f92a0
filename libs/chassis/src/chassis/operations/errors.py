"""The one error of operator commands: its message is the one clear line the operator reads."""


class OperationError(Exception):
    """What was asked for cannot be done; `str()` says why and what to do instead."""


class NothingSuch(OperationError):
    """What was named is not in this service."""
