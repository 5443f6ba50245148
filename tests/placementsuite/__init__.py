"""Automatic partitions over graphs that nobody here wrote: ``scripts/check-placement`` runs it.

``masks`` are random answers of pseudo-engines, ``own`` are graphs that the cut suite lacks,
``whole`` is a case read for the planner and, apart from it, for the checks, ``invariants`` are
these checks of a plan, ``check`` makes one plan, its segments and their chain, ``suite`` does all
that for one case, ``report`` adds it up.
"""
