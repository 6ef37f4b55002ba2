"""The HTML page of an experiment: one file that opens offline, or a live page on loopback during the run.

Input is an `ExperimentOutcome` and the text of its spec; output is HTML. Each module of figures computes an info tuple
(pure, tested) and then draws it with Plotly or Optuna. `document` assembles the sections, `live` serves them.
"""
