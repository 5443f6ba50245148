"""What a program without this project's runtime needs to run a bundle, as ``handover.json``."""
