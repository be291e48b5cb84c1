"""A whole system on this machine with very many sockets: what `dev.py bench hold` and `dev.py bench storm` share.

| module           | what                                                                            |
| ---------------- | ------------------------------------------------------------------------------- |
| `fleet`          | PostgreSQL, Valkey, a flusher, server processes on one port; what they use      |
| `device`, `pair` | one socket of one player; a listener with two of them                            |
| `crowd`          | all listeners of one load process: connecting, reports, seeks                   |
| `load_process`   | that process; it is told what to do on its standard input, and tells what it saw |
| `loads`          | several of them, as one                                                         |
| `rest`           | sampled requests over every route                                               |
"""
