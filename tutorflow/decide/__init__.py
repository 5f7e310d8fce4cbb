"""Deciding: signals, states, scores, alerts and hand-offs for a window of ticks."""

from tutorflow.decide.window import advance_window

__all__ = ["advance_window"]
