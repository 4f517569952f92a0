"""The one error of the local platform: its message is the one clear line the user reads."""


class PlatformError(Exception):
    """Something the user can act on; `str()` is one line saying what is wrong and what to do."""


class BusyError(PlatformError):
    """Another command is starting or stopping the same platform."""
