"""Run a role of the gateway: api, worker, all, migrate or topics."""

from chassis.runtime import main
from contracts.topics import EVENTS, TOPICS
from gateway.service import SERVICE

main(SERVICE, TOPICS, EVENTS)
