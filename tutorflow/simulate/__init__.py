"""A simulated tutoring programme with known hidden truth; no real learner is in it."""

from tutorflow.simulate.config import SimulationConfig, SimulationError
from tutorflow.simulate.delivery import SimulationReport, simulate
from tutorflow.simulate.interventions import DEFAULT_EFFECTS, Effect
from tutorflow.simulate.programme import Programme
from tutorflow.simulate.truth import Truth

__all__ = [
    "DEFAULT_EFFECTS",
    "Effect",
    "Programme",
    "SimulationConfig",
    "SimulationError",
    "SimulationReport",
    "Truth",
    "simulate",
]
