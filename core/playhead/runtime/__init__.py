"""The small kernel that every process stands on: settings, logging, metrics, the clock, the Redis connection.

Must not know: sessions, scripts, routes. Nothing here is created on import; the composition root makes each part once.
"""
