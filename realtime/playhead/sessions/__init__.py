"""The one use-case layer under both surfaces: load, reduce, commit, publish.

A `POST /seek` and a `seek` event run the same function here, and every device of the listener sees either at once.
Must not know: HTTP, Socket.IO, SQL. It holds no session between two calls: the store is the truth.
"""
