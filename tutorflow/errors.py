"""The errors that tutorflow raises on purpose: each message says what is wrong and what to do."""


class TutorflowError(Exception):
    """Something a person can put right; the command line prints the message and exits with 2."""


class ConfigurationError(TutorflowError):
    """A configuration file (settings, policy, roster) is wrong; names the file and the line."""


class InputError(TutorflowError):
    """One input file cannot be taken in as a whole; names the file, the fault and the remedy."""


class WarehouseHeldError(TutorflowError):
    """Another process holds the warehouse open; names the process."""
