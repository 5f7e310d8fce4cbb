"""The escalation policy: the validated model, the shipped default, the printed guide."""

from tutorflow.policy.model import Policy, load_policy

__all__ = ["Policy", "load_policy"]
