"""Errors, each one sentence that says what is wrong, where, and what to do."""


class DynamirrorError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(DynamirrorError):
    """A setting, `mirror.toml` or the stream's own set-up is wrong: no retry can help."""


class OptionError(ConfigError):
    """An option of the command line is wrong, or does not apply."""


class MissingExtraError(DynamirrorError, ImportError):
    """A package is not installed that an extra of dynamirror brings."""


class RecordError(DynamirrorError):
    """One record cannot be decoded, or cannot become an entry."""


class KeyTooLongError(RecordError):
    """An item's key is longer than the cache takes, so that the item has no entry."""


class CacheError(DynamirrorError):
    """The cache cannot be reached or refuses us."""


class SourceError(DynamirrorError):
    """The table or its stream cannot be read."""


class NotUnderstoodError(DynamirrorError, ValueError):
    """A request to DynamoDB is not understood here, or DynamoDB may refuse it: ask DynamoDB."""
