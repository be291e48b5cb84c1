"""The Socket.IO surface: handshake, events in, events out. Decodes, calls the use cases of `sessions`, answers.

Must not know: SQL, REST, how state is kept. Commands of one connection run in the order sent; connections run side by
side.
"""
