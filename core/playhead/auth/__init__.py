"""Who is asking, and what a signed path allows. Verifies; never stores, never logs a token.

Must not know: sessions, HTTP frameworks, sockets. Keys come in as settings; time comes in as an argument.
"""
