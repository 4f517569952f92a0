"""AdventureWorks (Microsoft's bicycle-maker sample data) mapped onto Orderloop's own layout.

Rules of the mapping: an item is a product by its number; made when MakeFlag is 1; bought from its cheapest vendor;
routings come from the product's model, or one step of DaysToManufacture days (8 working hours each, spread over a lot
of 100) at Final Assembly or Subassembly; opening stock is one lot per location, shelf and bin.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from devkit.imports import layout
from devkit.imports.layout import Dataset

_PLANNED_LOT = 100
_MINUTES_PER_DAY = 8 * 60
_FINAL_ASSEMBLY, _SUBASSEMBLY = "60", "50"
# How many machines stand in a work center; the data names only the hours available a week.
_MACHINES_PER_WORK_CENTER = 4
_UNITS = {"OZ": "OZ", "IN": "IN"}

Line = tuple[int, dict[str, str]]


def _lines(folder: Path, file: str) -> Iterator[Line]:
    with (folder / file).open(newline="", encoding="utf-8") as text:
        yield from enumerate(csv.DictReader(text), start=2)


def _products(folder: Path) -> list[Line]:
    """Products; a name with an unquoted comma has pushed its row one column to the right and is put back."""
    rows = []
    for number, row in _lines(folder, "products.csv"):
        if row["MakeFlag"] not in ("0", "1") and row["FinishedGoodsFlag"] in ("0", "1"):
            columns = list(row)
            values = [row[columns[0]], f"{row[columns[1]]}, {row[columns[2]]}", *(row[c] for c in columns[3:]), ""]
            rows.append((number, dict(zip(columns, values, strict=True))))
        else:
            rows.append((number, row))
    return rows


def read_folder(folder: Path, orders: int) -> Dataset:
    """The factory, and its first `orders` sales orders by date; raises FileNotFoundError naming a missing file."""
    dataset = Dataset()
    products = _products(folder)
    code = {row["ProductID"]: row["ProductNumber"] for _, row in products}
    _suppliers(folder, dataset)
    _work_centers(folder, dataset)
    bill = _components(folder, dataset, code)
    _items(folder, dataset, products, bill)
    _routing(folder, dataset, products)
    for number, row in _lines(folder, "product_inventory.csv"):
        if row["Quantity"] != "0":
            lot = f"{code.get(row['ProductID'], row['ProductID'])}-{row['LocationID']}-{row['Shelf']}-{row['Bin']}"
            _add(
                dataset,
                "stock",
                "product_inventory.csv",
                number,
                {"item": code.get(row["ProductID"]), "lot": lot.replace("N/A", "NA"), "quantity": row["Quantity"]},
            )
    for number, row in _lines(folder, "customers.csv"):
        values = {"number": row["AccountNumber"], "name": row["Name"], "email": row["Email"], "priority": "0"}
        _add(dataset, "customers", "customers.csv", number, values)
    _orders(folder, dataset, code, orders)
    return layout.consistent(dataset)


def _add(dataset: Dataset, name: str, file: str, line: int, values: dict[str, Any]) -> None:
    row = layout.make_row(dataset, layout.FILES[name], file, line, values)
    if row is not None:
        getattr(dataset, name).append(row)


def _suppliers(folder: Path, dataset: Dataset) -> None:
    for number, row in _lines(folder, "vendors.csv"):
        _add(dataset, "suppliers", "vendors.csv", number, {"supplier": row["AccountNumber"], "name": row["Name"]})


def _work_centers(folder: Path, dataset: Dataset) -> None:
    """Places with hours available, and those a routing names although they are listed as stores."""
    routed = {row["LocationID"] for _, row in _lines(folder, "routings.csv")}
    for number, row in _lines(folder, "locations.csv"):
        if Decimal(row["Availability"]) == 0 and row["LocationID"] not in routed:
            continue
        center = f"WC-{row['LocationID']}"
        _add(dataset, "work_centers", "locations.csv", number, {"work_center": center, "name": row["Name"]})
        for index in range(1, _MACHINES_PER_WORK_CENTER + 1):
            values = {"machine": f"{center}-{index}", "work_center": center, "name": f"{row['Name']} {index}"}
            _add(dataset, "machines", "locations.csv", number, values)


def _components(folder: Path, dataset: Dataset, code: dict[str, str]) -> dict[str, str]:
    """Adds the bill of materials; returns the unit of measure its components are counted in."""
    units: dict[str, str] = {}
    for number, row in _lines(folder, "bill_of_materials.csv"):
        if not row["ProductAssemblyID"]:
            continue
        units[row["ComponentID"]] = _UNITS.get(row["UnitMeasureCode"], "EA")
        values = {
            "parent": code.get(row["ProductAssemblyID"]),
            "item": code.get(row["ComponentID"]),
            "quantity": row["PerAssemblyQty"],
            "scrap_percent": 0,
        }
        _add(dataset, "components", "bill_of_materials.csv", number, values)
    return units


def _items(folder: Path, dataset: Dataset, products: list[Line], units: dict[str, str]) -> None:
    accounts = {row["BusinessEntityID"]: row["AccountNumber"] for _, row in _lines(folder, "vendors.csv")}
    sources: dict[str, list[dict[str, str]]] = defaultdict(list)
    for _, row in _lines(folder, "product_vendors.csv"):
        sources[row["ProductID"]].append(row)
    for number, row in products:
        values: dict[str, Any] = {
            "item": row["ProductNumber"],
            "name": row["Name"],
            "unit": units.get(row["ProductID"], "EA"),
            "source": "make" if row["MakeFlag"] == "1" else "buy",
            "price": row["ListPrice"],
            "standard_cost": row["StandardCost"],
            "lead_time_days": row["DaysToManufacture"],
        }
        if row["MakeFlag"] != "1" and (offers := sources[row["ProductID"]]):
            best = min(offers, key=lambda offer: (Decimal(offer["StandardPrice"]), offer["BusinessEntityID"]))
            values["supplier"] = accounts[best["BusinessEntityID"]]
            values["lead_time_days"] = best["AverageLeadTime"]
            values["minimum_order_quantity"] = best["MinOrderQty"]
            if Decimal(values["standard_cost"]) == 0:
                values["standard_cost"] = best["StandardPrice"]
        _add(dataset, "items", "products.csv", number, values)


def _routing(folder: Path, dataset: Dataset, products: list[Line]) -> None:
    models: dict[str, list[Line]] = defaultdict(list)
    for line in _lines(folder, "routings.csv"):
        models[line[1]["ProductModelID"]].append(line)
    for number, row in products:
        if row["MakeFlag"] != "1":
            continue
        for step_number, step in models[row["ProductModelID"]]:
            hours = max(Decimal(step["MachineHours"] or 0), Decimal(step["LaborHours"] or 0))
            values = {
                "item": row["ProductNumber"],
                "operation": step["Sequence"],
                "work_center": f"WC-{step['LocationID']}",
                "setup_minutes": Decimal(step["SetupHours"] or 0) * 60,
                "minutes_per_unit": round(hours * 60 / Decimal(step["LotSize"]), 6),
            }
            _add(dataset, "routing", "routings.csv", step_number, values)
        if not models[row["ProductModelID"]]:
            center = _FINAL_ASSEMBLY if row["FinishedGoodsFlag"] == "1" else _SUBASSEMBLY
            minutes = Decimal(row["DaysToManufacture"]) * _MINUTES_PER_DAY / _PLANNED_LOT
            values = {
                "item": row["ProductNumber"],
                "operation": 10,
                "work_center": f"WC-{center}",
                "setup_minutes": 0,
                "minutes_per_unit": minutes,
            }
            _add(dataset, "routing", "products.csv", number, values)


def _orders(folder: Path, dataset: Dataset, code: dict[str, str], count: int) -> None:
    accounts = {row["CustomerID"]: row["AccountNumber"] for _, row in _lines(folder, "customers.csv")}
    by_date = sorted(_lines(folder, "sales_orders.csv"), key=lambda line: (line[1]["OrderDate"], line[0]))
    chosen = by_date[:count]
    wanted = {row["SalesOrderID"] for _, row in chosen}
    for number, row in chosen:
        customer = accounts.get(row["CustomerID"], f"CustomerID {row['CustomerID']}")
        values = {"order": f"AW-{row['SalesOrderID']}", "customer": customer}
        _add(dataset, "orders", "sales_orders.csv", number, values)
    line_of: dict[str, int] = defaultdict(int)
    for number, row in _lines(folder, "sales_order_lines.csv"):
        if row["SalesOrderID"] not in wanted:
            continue
        line_of[row["SalesOrderID"]] += 1
        values = {
            "order": f"AW-{row['SalesOrderID']}",
            "line": str(line_of[row["SalesOrderID"]]),
            "item": code.get(row["ProductID"], f"ProductID {row['ProductID']}"),
            "quantity": row["OrderQty"],
            "unit_price": row["UnitPrice"],
        }
        _add(dataset, "order_lines", "sales_order_lines.csv", number, values)
