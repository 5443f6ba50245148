"""What a user gives to be run: files, folders, patterns, videos, cameras and tensors."""
