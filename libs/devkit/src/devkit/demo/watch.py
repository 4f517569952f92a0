"""Live order status over server-sent events, and how it is shown in a terminal."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from httpx_sse import aconnect_sse
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from devkit.client import Api

STAGES = ("placed", "promised", "planned", "in_production", "completed", "shipped", "delivered", "closed", "cancelled")
_DONE = ("delivered", "closed", "cancelled")
_RECONNECT_SECONDS = 0.5
View = dict[str, Any]


@dataclass
class OrderWatch:
    """The latest status view of each watched order, kept up to date by streams that resume after a break."""

    api: Api
    numbers: Sequence[str]
    on_change: Callable[[View | None, View], None] = lambda _before, _after: None
    views: dict[str, View] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    # When each order was seen finished, on the monotonic clock.
    finished_at: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Follow every order until all are finished."""
        async with asyncio.TaskGroup() as group:
            for number in self.numbers:
                group.create_task(self._follow(number))

    async def _follow(self, number: str) -> None:
        last_id = ""
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(
            base_url=self.api.gateway, timeout=httpx.Timeout(10, read=None), limits=limits
        ) as http:
            while self.views.get(number, {}).get("stage") not in _DONE:
                headers = {"Authorization": f"Bearer {await self.api.token()}"}
                if last_id:
                    headers["Last-Event-ID"] = last_id
                try:
                    path = f"/v1/orders/{number}/status/stream"
                    async with aconnect_sse(http, "GET", path, headers=headers) as stream:
                        async for event in stream.aiter_sse():
                            last_id = event.id or last_id
                            if event.event == "status":
                                self._see(number, json.loads(event.data))
                            if event.event == "reconnect" or self.views[number]["stage"] in _DONE:
                                break
                except httpx.HTTPError:
                    await asyncio.sleep(_RECONNECT_SECONDS)

    def _see(self, number: str, view: View) -> None:
        before = self.views.get(number)
        self.views[number] = view
        if view["stage"] in _DONE:
            self.finished_at.setdefault(number, time.monotonic())
        code = (view.get("reason") or {}).get("code")
        seen = self.reasons.setdefault(number, [])
        if code and (not seen or seen[-1] != code):
            seen.append(code)
        self.on_change(before, view)


def timeline(watch: OrderWatch, note: str) -> RenderableType:
    """The table a person watches."""
    table = Table(title="Orders", title_justify="left", caption=note, caption_justify="left", expand=False)
    for name in ("order", "customer", "what", "stage", "progress", "expected", "why"):
        table.add_column(name, no_wrap=name != "why", max_width=46 if name == "why" else None)
    for number in watch.numbers:
        view = watch.views.get(number)
        if view is None:
            table.add_row(number, "", "", "…", "", "", "")
            continue
        what = ", ".join(f"{line['quantity']} × {line['item']}" for line in view["lines"])
        bar = ProgressBar(total=100, completed=float(view["progress"]), width=12)
        reason = (view.get("reason") or {}).get("text", "")
        table.add_row(number, view["customer"], what, _colored(view["stage"]), bar, _short(view.get("eta")), reason)
    return table


def _colored(stage: str) -> str:
    color = {"delivered": "green", "closed": "green", "in_production": "yellow", "cancelled": "red"}.get(stage, "cyan")
    return f"[{color}]{stage.replace('_', ' ')}[/]"


def _short(time: str | None) -> str:
    return f"{datetime.fromisoformat(time):%m-%d %H:%M}" if time else ""


def change_line(before: View | None, after: View) -> str | None:
    """One line for a log: what changed that a person cares about, or None."""
    reason = after.get("reason") or {}
    same_reason = before and (before.get("reason") or {}).get("code") == reason.get("code")
    if before and before["stage"] == after["stage"] and (same_reason or after["stage"] in _DONE):
        return None
    expected = f", expected {_short(after['eta'])}" if after.get("eta") and after["stage"] not in _DONE else ""
    why = f" ({reason['text']})" if reason and after["stage"] not in _DONE else ""
    return f"{after['number']}  {after['stage'].replace('_', ' '):<14}{after['progress']:>6.1f} %{expected}{why}"


async def show_until_done(console: Console, watch: OrderWatch, note: Callable[[], str]) -> None:
    """Show the watched orders live on a terminal, or one line per change elsewhere, until all are finished."""
    if not console.is_terminal:
        watch.on_change = lambda before, after: _print_change(console, before, after)
        await watch.run()
        return
    with Live(timeline(watch, note()), console=console, refresh_per_second=8) as live:
        watch.on_change = lambda _before, _after: live.update(timeline(watch, note()))
        await watch.run()
        live.update(timeline(watch, note()))


def _print_change(console: Console, before: View | None, after: View) -> None:
    if line := change_line(before, after):
        console.print(line, soft_wrap=True)
