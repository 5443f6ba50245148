"""NVIDIA's own ONNX parser and builder over whole suites: ``scripts/check-tensorrt`` runs it.

``outcome`` has what is asked and answered, ``child`` is the process that asks a library, and
``batches`` starts such processes so that a crash costs one model. ``shipped``, ``packaged`` and
``own_graphs`` are the models, ``log`` keeps what is done, ``page`` adds it up, ``cli`` is the
command line.
"""
