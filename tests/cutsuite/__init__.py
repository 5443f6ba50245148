"""Chain = whole, over graphs that nobody here wrote: ``scripts/check-cuts`` runs it.

``cases`` are models with inputs, ``reading`` knows who needs what in one, ``plans`` are the cuts
through it, ``check`` makes one cut and runs the chain, ``control`` sees to it that a wrong chain
would be noticed, ``suite`` does all that for one model, ``report`` adds it up.
"""
