"""Playback rules as pure functions: what a session is, how commands change it, where the playhead is.

Owns: session state, commands, the reducer, playhead arithmetic with loop folding, listened intervals, rejections.
Must not know: sockets, databases, clocks, randomness. Time and ids come in as arguments.
How it works: `reduce(state, command, ...)` answers a `Decision` (the new state) or a `Rejection`, as a value.
"""
