"""The history checker: whether a run kept every guarantee, judged from what clients, Kafka and the databases say."""

from history.checks import NAMES, Violation, check_all
from history.folds import Fold
from history.model import Command, History, Injected, Record, Run

__all__ = ["NAMES", "Command", "Fold", "History", "Injected", "Record", "Run", "Violation", "check_all"]
