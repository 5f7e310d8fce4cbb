"""Orchestration: when the parts run, in which order, under which lock, at what time.

The composition root of tutorflow. Imports go one way (flows -> expectations -> tutorflow), the wall
clock is read here only, and no other package knows Prefect or dbt.
"""

import os

# Nothing here reports home. Set before Prefect, dbt or Great Expectations is imported; an explicit
# choice of the user stays.
for _name, _value in {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "GX_ANALYTICS_ENABLED": "false",
}.items():
    os.environ.setdefault(_name, _value)
