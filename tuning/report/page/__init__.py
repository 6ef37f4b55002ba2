"""The page: an experiment as one HTML file that opens offline, or live on loopback while the run goes on.

Goes in: an `ExperimentOutcome` and the text of its spec. Comes out: HTML. Each file of figures computes an info tuple
(pure, tested), then draws it with Plotly or Optuna; `document` puts sections around them, `live` serves them.
"""
