"""Flows: the operator's Python functions inside the server (docs/flows.md).

``importable`` is on the path of flow files: the package ``redisAI`` lies there, the interface that they use.
Everything else runs them: files, calls, events, streams, replies.
"""
