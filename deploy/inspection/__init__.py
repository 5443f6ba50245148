"""What there is to cut, and what it would cost: behind ``deploy.inspect``."""
