"""Deployment configurations of MMDeploy -> recipes of this project."""
