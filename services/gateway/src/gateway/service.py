"""The gateway: one public API in front of the services, access tokens, and the order-status view."""

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chassis.messaging.handlers import merge
from chassis.operations.projection import Projection
from chassis.service import Context, Service
from gateway.access import api as access_api
from gateway.access.admission import Admission
from gateway.access.api import Access
from gateway.access.rates import Rates
from gateway.access.rules import SCOPES
from gateway.metadata import metadata
from gateway.orders import api as orders_api
from gateway.orders.openapi import PublicDocument, RefreshedDocument
from gateway.settings import GatewaySettings
from gateway.status import api as status_api
from gateway.status import queries as status_queries
from gateway.status.feed import StatusFeed
from gateway.status.handlers import HANDLERS
from gateway.status.streams import Streams
from gateway.status.tables import TABLES
from gateway.upstreams import Upstreams


def _prepare(app: FastAPI, context: Context) -> None:
    settings: GatewaySettings = context.settings
    app.state.access = Access.create(context)
    app.state.verifier = Admission(context.verifier, Rates(settings.requests_per_second, settings.request_burst))
    app.state.streams = Streams(settings.streams_per_client, settings.streams)
    app.state.upstreams = Upstreams({"crm": settings.crm_url, "erp": settings.erp_url, "mes": settings.mes_url})
    app.state.feed = StatusFeed(context)
    app.state.own_routes = [*access_api.router.routes, *status_api.router.routes]
    document = PublicDocument(app, app.state.upstreams, SCOPES)
    app.openapi = document.document  # type: ignore[method-assign]
    app.add_middleware(RefreshedDocument, document=document)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=settings.trusted_proxies)


ORDER_STATUS = merge("gateway.order-status", HANDLERS)

SERVICE = Service(
    name="gateway",
    title="Orderloop",
    metadata=metadata,
    # The last one answers every other path under /v1.
    routers=[access_api.router, status_api.router, orders_api.router],
    consumers=[ORDER_STATUS],
    invariants={"order-status": status_queries.invariants},
    projections={"order-status": Projection(ORDER_STATUS, TABLES)},
    settings=GatewaySettings,
    form_paths=("/oauth/token",),
    public=True,
    prepare=_prepare,
)
