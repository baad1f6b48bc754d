"""What the user has to change about a study; the text says where and how."""


class StudyError(ValueError):
    """A study file, a study folder or a command that does not fit the other two."""
