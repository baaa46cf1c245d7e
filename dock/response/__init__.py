"""What the states of a crystal say of its response to fields, and of its topology.

One quantity a module, each on the k-point data of `dock.response.kdata`.
"""
