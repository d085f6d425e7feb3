"""Finds the hyper-parameters with which SAC learns fastest by the clock."""

__version__ = "0.1.0"
