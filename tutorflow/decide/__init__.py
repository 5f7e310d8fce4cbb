"""Deciding: signals, states, scores, alerts and hand-offs for a window of ticks."""
