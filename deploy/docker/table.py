"""Create the demo's table in the emulator that AWS_ENDPOINT_URL names, unless it exists."""

import os

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import create_table


def main() -> None:
    """Create the table that DYNAMODB_TABLE names."""
    name = os.environ["DYNAMODB_TABLE"]
    client = Aws.from_env().dynamodb()
    if name not in client.list_tables()["TableNames"]:
        create_table(client, name, {"id": "S"})
    print(f"table {name} is there")


if __name__ == "__main__":
    main()
