"""`orderloop keys`, as an operator types it."""

import json
from pathlib import Path

from typer.testing import CliRunner

from devkit.cli import app
from devkit.platform.signing import KeyRing


def test_a_key_is_announced_used_and_the_old_one_removed(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.ensure()
    (old,) = ring.ids()

    def keys(verb: str) -> dict[str, object]:
        done = CliRunner().invoke(app, ["keys", verb, "--folder", str(tmp_path), "--json"], catch_exceptions=False)
        assert done.exit_code == 0
        return dict(json.loads(done.stdout))

    new = keys("add")["key"]
    assert keys("list") == {"keys": {old: "signing", new: "next"}}
    assert keys("use") == {"key": new}
    assert keys("list") == {"keys": {old: "old", new: "signing"}}
    assert keys("remove") == {"removed": [old]}
    assert keys("remove") == {"removed": []}


def test_a_start_keeps_the_announced_key(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ring.ensure()
    ring.add()
    before = ring.ids()
    ring.ensure()
    assert ring.ids() == before
    assert sorted(before.values()) == ["next", "signing"]
