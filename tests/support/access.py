"""Users of the cache with the access strings that docs/security.md shows."""

import re
from collections.abc import Callable
from pathlib import Path

from dynamirror.cache.acl import Role
from dynamirror.cache.client import Cache

ROOT = Path(__file__).parents[2]


# In the order of the page, which is that of the roles.
ACCESS = dict(
    zip(
        Role,
        re.findall(
            r"^```text\n(on .*)\n```$",
            (ROOT / "docs/security.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        ),
        strict=True,
    )
)
OPERATOR, READER = ACCESS[Role.OPERATOR], ACCESS[Role.READER]


Login = Callable[[str], Cache]
