"""What a slot's process imports before it has a trial. A local Ray imports this module in every worker as it starts, or
before it forks one.

Tune's trial actors, and only they, run with PL_DISABLE_FORK (ray.tune.execution.class_cache): other workers, such as
those that write to Weights & Biases, need none of it. Nothing here may touch CUDA: a slot's device is not chosen yet.
"""

import os

EARLY = ("torch", "datasets", "transformers.trainer")  # most of what it takes; none of them imports ray

if "PL_DISABLE_FORK" in os.environ:
    import trainables.finetune.finetune
    import trainables.user_trainer.user_training  # noqa: F401
