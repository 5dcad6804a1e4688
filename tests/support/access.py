"""Users of the cache with the access strings that the stack grants."""

import re
from collections.abc import Callable
from pathlib import Path

from dynamirror.cache.client import Cache

ROOT = Path(__file__).parents[2]


REPLICATOR, READER = re.findall(
    r"^```text\n(on .*)\n```$",
    (ROOT / "docs/security.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


Login = Callable[[str], Cache]
