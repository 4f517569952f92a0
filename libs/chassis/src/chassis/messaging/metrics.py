"""What operators watch of the messaging core."""

from prometheus_client import Counter, Gauge, Histogram

OUTBOX_OLDEST_AGE = Gauge("outbox_oldest_age_seconds", "Age of the oldest unpublished event.", ["service"])
OUTBOX_PENDING = Gauge("outbox_pending", "Unpublished events (counted up to 10000).", ["service"])
OUTBOX_PARKED = Gauge("outbox_parked", "Events that can never be sent as they are; each blocks its key.", ["service"])
OUTBOX_PUBLISHED = Counter("outbox_published_total", "Events published and acknowledged.", ["service"])
RELAY_LEADER = Gauge("relay_leader", "1 while this process relays the database's outbox.", ["service"])

CONSUMER_LAG = Gauge("consumer_lag", "Events of the assigned partitions not yet applied.", ["group", "topic"])
EVENTS_HANDLED = Counter(
    "events_handled_total", "Events by outcome: applied, duplicate, skipped, parked.", ["group", "outcome"]
)
EVENT_AGE = Histogram(
    "event_age_seconds",
    "Time from an event's occurrence until its effect was committed.",
    ["group"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
EVENT_RETRIES = Counter(
    "event_retries_total", "Attempts repeated, by whether an outside part was away.", ["group", "transient"]
)
DEAD_LETTERS = Counter("dead_letters_total", "Events sent to a dead-letter topic.", ["group", "topic"])
PARKED_KEYS = Gauge("parked_keys", "Aggregates whose events wait for an operator.", ["group"])
LAST_PROGRESS = Gauge(
    "consumer_last_progress", "Unix time when the consumer last applied events or had none left.", ["group"]
)
