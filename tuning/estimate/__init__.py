"""Estimates what an experiment will take, before it takes it: trials, steps, device-hours, wall time, memory, disk.

`estimate.py` is the way in: it calibrates (`calibration.py`), or reads what is known of earlier runs (`known.py`),
makes costs of it (`costs.py`), and lets the experiment run in virtual time (`simulation.py`) over trials that take
these seconds (`simulated_training.py`). Where that takes the driver too long, `arithmetic.py` bounds it.
"""
