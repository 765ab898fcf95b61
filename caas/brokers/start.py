"""``python -m caas.brokers.start ACCOUNTS PASSWORDS FOLLOWS PROGRAM …``: with a fresh overlay."""

import os
import sys
from pathlib import Path

from caas.brokers.overlay import FOLLOWS, reset_accounts


def main() -> None:
    """Reset the plugin's accounts, then become the program, under the same process id."""
    accounts, passwords, follows, *command = sys.argv[1:]
    reset_accounts(Path(accounts), Path(passwords), follows=follows == FOLLOWS)
    os.execv(command[0], command)  # noqa: S606 - the program plan_broker has found


if __name__ == "__main__":
    main()
