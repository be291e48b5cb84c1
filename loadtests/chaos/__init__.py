"""Faults for real: a whole system under traffic of real clients, killed piece by piece, and checked after each kill.

    system    the processes, each of which can be killed and started again
    device    a listener's device: a real Socket.IO client that sends again what was not answered
    traffic   listeners with two devices and an app over REST, who press what real ones press
    record    every state that anybody was told, and every command with its answer
    model     from the record alone: what must have been listened to, and played at most
    checks    the record against the state store and PostgreSQL
    faults    the kills

Shared by tests/acceptance/test_faults.py and bench_chaos.py. Must not know: how the server works inside, beyond the
names of its keys and tables.
"""
