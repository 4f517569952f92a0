from chassis.migrations import run
from tally.service import SERVICE

run(SERVICE.metadata)
