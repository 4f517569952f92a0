"""Run the service: ``python -m crm api|worker|all|migrate|topics``."""

from chassis.runtime import main
from contracts.topics import EVENTS, TOPICS
from crm.service import SERVICE

if __name__ == "__main__":
    main(SERVICE, TOPICS, EVENTS)
