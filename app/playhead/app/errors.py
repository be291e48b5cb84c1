"""What a command of the command line can fail with."""


class CommandFailed(Exception):
    """A command could not be carried out; its text says what to do."""
