"""Scorers of free-form answers: pure functions of a gold answer and a reply, which never fail on any reply.

The same function scores an evaluation and is the reward of reinforcement learning.
"""
