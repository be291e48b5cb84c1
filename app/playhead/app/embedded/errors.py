"""What goes wrong with an embedded server; the message says what to do."""


class EmbeddedError(RuntimeError):
    """An embedded server cannot be used. Its text is meant for the person at the terminal."""
