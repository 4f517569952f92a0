"""`orderloop demo` and `orderloop import` as a newcomer and a planner run them, against the running platform."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devkit.platform import Platform

SHARED = Path(__file__).parents[3] / "shared" / "data" / "adventureworks"


def _orderloop(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORDERLOOP_STATE": str(platform.folder.path)}
    return subprocess.run(
        [sys.executable, "-m", "devkit", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _json(run: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    return dict(json.loads(run.stdout))


def test_the_demo_closes_the_loop(platform: Platform) -> None:
    outcome = _json(_orderloop(platform, "demo", "--json"))
    assert outcome["closed"]
    assert {order["stage"] for order in outcome["orders"]} <= {"delivered", "closed"}
    assert outcome["seconds_to_first_delivery"] <= 60
    assert outcome["ledger_balanced"]
    assert outcome["stock_faults"] == []
    assert outcome["defects"] >= 1
    # One machine stopped and came back, one lot was bad, its supplier is checked, the shortage was bought.
    for topic in ("mes.maintenance", "mes.defect", "erp.supplier-check", "erp.purchase-order", "crm.notification"):
        assert outcome["events"][f"{topic}.events.v1"] > 0, topic


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """A tiny factory in our own layout, with rows that break a rule."""
    files = {
        "items.csv": """
            item,name,unit,source,price,standard_cost,lead_time_days,supplier,minimum_order_quantity
            W-PIN,Pin,EA,buy,1.00,0.10,2,,
            W-BAD,Bad,EA,steal,1.00,0.10,2,,
            W-BOX,Box,EA,make,9.00,1.00,1,,
            W-TWO,Box of the bad,EA,make,9.00,1.00,1,,
        """,
        "work_centers.csv": "work_center,name\nW-WC,Bench\n",
        "components.csv": "parent,item,quantity,scrap_percent\nW-BOX,W-PIN,4,0\nW-TWO,W-BAD,1,0\n",
        "routing.csv": """
            item,operation,work_center,setup_minutes,minutes_per_unit
            W-BOX,10,W-WC,0,1
            W-TWO,10,W-WC,0,1
        """,
        "customers.csv": "number,name,email,priority\nW-C1,Workshop customer,,10\n",
        "orders.csv": "order,customer,requested_date,priority,currency\nW-1,W-C1,,,\nW-2,W-C1,,,\n",
        "order_lines.csv": "order,line,item,quantity,unit_price,options\nW-1,1,W-BOX,3,,\nW-2,1,W-TWO,3,,\n",
    }
    for name, text in files.items():
        lines = [line.strip() for line in text.strip().splitlines()]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_an_import_lists_what_it_cannot_load_and_a_second_run_changes_nothing(
    platform: Platform, workshop: Path
) -> None:
    first = _json(_orderloop(platform, "import", "csv", str(workshop), "--orders", "2", "--json"))
    refused = {(p["file"], p["line"]) for p in first["problems"]}
    assert {("items.csv", 3), ("items.csv", 5), ("orders.csv", 3)} <= refused
    assert first["created"]["items"] == 2
    assert first["orders_delivered"] == len(first["orders"]) == 1
    again = _json(_orderloop(platform, "import", "csv", str(workshop), "--orders", "2", "--json"))
    assert sum(again["created"].values()) == 0
    assert again["orders"] == first["orders"]


def test_an_import_of_nothing_says_so(platform: Platform, tmp_path: Path) -> None:
    run = _orderloop(platform, "import", "csv", str(tmp_path))
    assert run.returncode == 1
    assert "holds none of" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="the AdventureWorks files are not beside this checkout")
def test_adventureworks_is_imported_made_and_delivered(platform: Platform) -> None:
    result = _json(_orderloop(platform, "import", "adventureworks", str(SHARED), "--orders", "5", "--json"))
    assert result["problems"] == []
    assert result["created"]["items"] == 504
    assert result["orders_delivered"] == 5
    assert result["ledger_balanced"]
    assert result["stock_faults"] == []
