"""Brings the databases of several services to their newest revision in one process: `{service: url}` on standard input.

A process per service would import the same libraries again and again, which costs more than all migrations together.
"""

import asyncio
import json
import sys
import traceback

from chassis import migrations


def main() -> None:
    """Migrate one after the other; ends with exit code 1 and the reason as the last line when one fails."""
    for service, database_url in json.load(sys.stdin).items():
        try:
            asyncio.run(migrations.upgrade(service, database_url))
        except Exception as error:
            traceback.print_exc()
            sys.exit(f"{service}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
