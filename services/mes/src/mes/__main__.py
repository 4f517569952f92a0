"""Runs the MES service: ``python -m mes api|worker|all|migrate|topics``."""

from chassis.runtime import main
from contracts.topics import EVENTS, TOPICS
from mes.service import SERVICE

if __name__ == "__main__":
    main(SERVICE, TOPICS, EVENTS)
