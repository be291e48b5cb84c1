"""What a client decides, as a pure machine: what to apply, what to send again, when to join, when to connect.

Must not know: sockets, event loops, clocks, randomness. Time, chance and ids come in; what to do comes out as values.
How it works: `Conversation` takes what happened and answers effects; the other modules are its parts.
"""
