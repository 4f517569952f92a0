"""Inspections and defects: judging lots, containing the bad ones and pointing at their inputs."""
