"""Schemathesis asks every service and the gateway what their documents allow and what they do not.

`FUZZ_EXAMPLES` and `FUZZ_SEED` make it longer and different (`make fuzz`).
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from devkit.client import Api, Credentials
from devkit.platform import Platform

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "4"))
SEED = os.environ.get("FUZZ_SEED", "1")
_SECONDS = 600 + 30 * EXAMPLES
_CONFIG = Path(__file__).with_name("schemathesis.toml")


@dataclass(frozen=True)
class Run:
    """What is asked, as whom, and how."""

    service: str
    role: str
    phases: str
    paths: str
    examples: int = EXAMPLES

    def __str__(self) -> str:
        return f"{self.service} as {self.role}: {self.phases}"


_ALL = "^/"
# What the gateway does itself; the rest it sends on to services that are asked directly.
_OWN = r"^/(oauth|\.well-known|v1/(clients|me|orders/[^/]+/status$))"
RUNS = [
    *(Run(service, "admin", "coverage,fuzzing,stateful", _ALL) for service in ("crm", "erp", "mes")),
    Run("gateway", "admin", "coverage,fuzzing", _OWN),
    Run("gateway", "admin", "stateful", _ALL),
    Run("gateway", "customer", "fuzzing", _ALL, examples=max(1, EXAMPLES // 6)),
]


@pytest.fixture(scope="package")
async def tokens(platform: Platform) -> dict[str, str]:
    """A token for each role, got before anybody guesses secrets."""
    found = {}
    for role in ("admin", "customer"):
        client = platform.client(role)
        async with Api(platform.gateway_url, Credentials(client.client_id, client.client_secret)) as api:
            found[role] = await api.token()
    return found


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_answers_are_as_documented(platform: Platform, tokens: dict[str, str], run: Run, tmp_path: Path) -> None:
    port = platform.folder.state().ports[run.service]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run"]
    command += [f"http://127.0.0.1:{port}/openapi.json", "--header", f"Authorization: Bearer {tokens[run.role]}"]
    command += ["--phases", run.phases, "--max-examples", str(run.examples), "--seed", SEED, "--continue-on-failure"]
    command += ["--include-path-regex", run.paths, "--exclude-path-regex", "/stream$", "--warnings", "off"]
    command += ["--suppress-health-check", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert tried, done.stdout
    assert int(tried[1]) > 10
