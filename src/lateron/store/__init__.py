"""Where messages are kept: SQL, blocking, without any rule of delivery.

A ``Store`` opens transactions; a ``Transaction`` has the verbs of the domain, each for many rows. The
broker composes them: read, decide (in the core), store.
"""
