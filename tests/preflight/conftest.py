"""An AWS account, emulated."""

from collections.abc import Iterator

import pytest
from tests.support.emulated_account import EmulatedAccount


@pytest.fixture(scope="session")
def account() -> Iterator[EmulatedAccount]:
    """Emulated AWS, started once."""
    account = EmulatedAccount()
    yield account
    account.server.stop()
