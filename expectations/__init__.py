"""What must hold before anything is published.

One pair of files per suite: `<suite>.yml` says what must hold, as Great Expectations expectations;
`<suite>.py` builds the frames they look at. `gate.py` turns both into a verdict.
"""
