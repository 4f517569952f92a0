"""Services as several processes, and processes that stand still."""

import subprocess
import sys
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from devkit.platform.layout import WHOLE, Doors, split
from devkit.platform.postgres import at_port
from devkit.platform.processes import ProcessRef
from devkit.testing import wait_until

_PARENT_AND_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


@pytest.fixture
def family() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child, both of which wait until their input ends."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT_AND_CHILD], stdin=subprocess.PIPE)
    yield parent
    assert parent.stdin is not None
    parent.stdin.close()
    parent.wait(10)


def test_one_process_per_service_unless_asked_otherwise() -> None:
    assert [WHOLE.serving(service) for service in ("crm", "erp", "mes", "gateway")] == ["crm", "erp", "mes", "gateway"]
    assert WHOLE.workers("erp") == ["erp"]


def test_a_split_service_serves_in_one_process_and_works_in_others() -> None:
    layout = split(2, {"erp": Doors(postgres=1, kafka=2)})
    assert layout.serving("erp") == "erp-api"
    assert layout.workers("erp") == ["erp-worker-1", "erp-worker-2"]
    assert layout.services(["erp-api", "erp-worker-2", "mes-api"]) == ["erp", "mes"]


def test_a_url_keeps_all_but_its_port() -> None:
    assert (
        at_port("postgresql+asyncpg://a:b%40c@127.0.0.1:5432/erp", 7) == "postgresql+asyncpg://a:b%40c@127.0.0.1:7/erp"
    )


async def test_a_frozen_process_and_its_children_stand_still_until_thawed(family: subprocess.Popen[bytes]) -> None:
    ref = ProcessRef.of(family.pid)
    process = psutil.Process(family.pid)
    (child,) = await wait_until(process.children, 10, "the child")
    assert ref.freeze()
    await wait_until(
        lambda: {process.status(), child.status()} == {psutil.STATUS_STOPPED}, 10, "parent and child to stand still"
    )
    assert ref.thaw()
    await wait_until(
        lambda: psutil.STATUS_STOPPED not in (process.status(), child.status()), 10, "parent and child to go on"
    )


def test_who_has_ended_is_neither_frozen_nor_thawed() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ref = ProcessRef.of(ended.pid)
    ended.wait(10)
    assert not ref.freeze()
    assert not ref.thaw()
