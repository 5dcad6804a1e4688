"""Commands that a user of the cache needs, for access strings of least privilege."""

# Every command that the replicator and the operator's commands send, or that scripts call: what a
# user of least privilege must be granted (docs/security.md).
COMMANDS = (
    "asking",
    "cluster|nodes",
    "cluster|slots",
    "decrby",
    "evalsha",
    "expireat",
    "expiretime",
    "get",
    "hdel",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hset",
    "incr",
    "info",
    "persist",
    "scan",
    "script|load",
    "set",
    "time",
    "unlink",
    "zadd",
    "zrem",
    "zscan",
    "zscore",
)


# What an application that only reads must be granted.
READER_COMMANDS = (
    "asking",
    "cluster|slots",
    "exists",
    "get",
    "hget",
    "hgetall",
    "hmget",
    "mget",
    "readonly",
    "strlen",
    "zrange",
)
