"""Adapters to federated learning frameworks, one module per framework.

An adapter imports its framework only when it is used, so that `secagg` needs none of them. It is a
driver: it carries messages between the machines of `secagg.interfaces`, and nothing more.
"""
