"""Everything that a stranger may hand us, mutated: ``scripts/fuzz`` runs it.

``seeds`` writes a small corpus per kind with our own code, ``cases`` makes the numbered mutant of a
seed with the mutators of its kind (``octets``, ``texts``, ``specs``, ``protos``, ``params``,
``members``, ``arrays``, ``pictures``, ``pickles``), ``targets`` is what we do with such a thing,
``worker`` does it in a process that may die, ``watch`` and ``audit`` see what it touches,
``campaign`` looks after the workers, ``report`` adds it up, ``kept`` are faults of the past, and
``guided`` lets coverage choose the mutants. ``planted`` has a fault of each sort.
"""
