"""How fast, in how much memory, and growing with what: `python -m tests.bench`, or `make bench`.

A bench, not a test: it prints what it measured and whether the targets were met, and always exits
with 0. All data are simulated.
"""
