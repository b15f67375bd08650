"""What the operations return: frozen reports that know their exit code.

TTLs and times are seconds, sizes bytes, hit rates 0 to 1. `None` as a TTL means persistent.
"""
