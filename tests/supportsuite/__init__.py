"""What engines say that they take, against what they do: ``scripts/check-support`` runs it.

``child`` is the process that asks and converts, ``cli`` starts such processes, so that a crash
costs one model, and adds up.
"""
