"""The rules: one module per layer, one small function per rule."""

from tutorflow.decide.rules import compliance, confidence, content
from tutorflow.decide.rules.series import rolling_sum

__all__ = ["compliance", "confidence", "content", "rolling_sum"]
