"""Measuring what the alerts, the nudges and the people achieved."""
