"""The rules: one module per layer, one small function per rule."""

from tutorflow.decide.rules import compliance, confidence, content, safety, score, wellbeing

__all__ = ["compliance", "confidence", "content", "safety", "score", "wellbeing"]
