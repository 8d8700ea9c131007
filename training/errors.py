"""The one exception that training shows to people."""


class TrainingError(ValueError):
    """Says in one sentence what is wrong, where, what was expected and what was found."""
