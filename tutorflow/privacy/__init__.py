"""Who is behind a pseudonym, and who may know."""
