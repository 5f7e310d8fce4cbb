"""tutorflow: every hour, decide which few learners of a tutoring programme need a human now."""
