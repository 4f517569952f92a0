from chassis.runtime import main
from tally.service import EVENTS, SERVICE, TOPICS

main(SERVICE, TOPICS, EVENTS)
