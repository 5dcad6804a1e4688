"""Which Python runs the tests, and one that does not."""

import sys

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# Lambda has it, too.
OTHER = "3.13" if HERE != "3.13" else "3.12"
