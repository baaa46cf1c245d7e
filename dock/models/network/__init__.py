"""The edge-frame SO(2) network: configuration, parameters, and pure functions of arrays.

Only `config` is free of JAX; the rest imports it.
"""
