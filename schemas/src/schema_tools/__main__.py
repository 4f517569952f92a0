"""``python -m schema_tools generate|check|release``.

``generate`` writes the generated files; ``check`` fails when one is stale or a released schema was broken; ``release``
makes the present schemas the released ones, unless that would break one.
"""

import argparse
import sys

from schema_tools import compatibility, files
from schema_tools.jsonschemas import published_schemas


def main() -> int:
    """Run the command; 0 when fine, 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m schema_tools", description="Generate and guard published schemas.")
    parser.add_argument("action", choices=["generate", "check", "release"])
    action = parser.parse_args().action
    if action == "generate":
        for path in files.write():
            _say(f"wrote {path}")
        return 0
    wrong = compatibility.findings(files.released(), published_schemas())
    if action == "check":
        wrong += [f"{path} is stale: run python -m schema_tools generate" for path in files.stale()]
    for finding in wrong:
        _say(finding)
    if action == "release" and not wrong:
        files.release()
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
