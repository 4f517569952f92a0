"""Run a role of the erp service: api, worker, all, migrate or topics."""

from chassis.runtime import main
from contracts.topics import EVENTS, TOPICS
from erp.service import SERVICE

main(SERVICE, TOPICS, EVENTS)
