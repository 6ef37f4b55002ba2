"""The experiment: plan, run, remember, compare.

    from tuning import load_spec, run_experiment, compare
"""
