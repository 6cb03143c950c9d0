"""Faster ways to run a SteerViT, equal to the plain one."""
