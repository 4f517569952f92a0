"""A service for the chassis' own tests: counters that can be counted up, and a record of every count it heard of."""
