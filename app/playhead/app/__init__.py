"""The composition root: the `playhead` command, embedded servers, the supervisor, and the wiring of all parts.

Owns: which implementation stands behind which interface, and in which process it runs. Nothing imports this package.
"""
