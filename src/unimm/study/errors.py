"""What the user has to change about a study, and how a run can end without a result."""


class StudyError(ValueError):
    """A study file, a study folder or a command that does not fit the other two."""


class Crashed(Exception):
    """The run failed by itself; it counts as an attempt."""


class Stopped(Exception):
    """The worker was asked to stop; the run is left with its checkpoint."""
