"""Endurance: the real product under load, killed all the time, and an audit of everything that it acknowledged.

make soak                                        # SOAK_MINUTES=10
python -m tests.stress --minutes 1 --seed 7
"""
