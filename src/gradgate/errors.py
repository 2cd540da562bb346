"""The kinds of failure; everything else is a bug."""


class GradgateError(Exception):
    """Base of every error that gradgate raises on purpose."""


class DataError(GradgateError):
    """The data, or a file of a run, cannot be used as it is. Final: a retry changes nothing."""


class ModelError(GradgateError):
    """The model cannot be loaded or scored exactly. Final: a retry changes nothing."""


class ConfigError(GradgateError):
    """The configuration is wrong. Final: a retry changes nothing."""


class MethodError(GradgateError):
    """A detection method broke its contract. Final: a fault of the method."""


class StoreError(GradgateError):
    """The score store cannot be used: wrong file, no rights, full disk. It holds no wrong score."""


class TransientError(GradgateError):
    """A service did not answer; the same call may work later."""
