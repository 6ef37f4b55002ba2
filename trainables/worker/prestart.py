"""Imports that a slot's process does before it has a trial of the fine-tuning, or of a user's Trainer.

A local Ray imports this module in each worker it starts; where trials are something else, `prestart_any`.

Only Tune's trial actors run with PL_DISABLE_FORK (ray.tune.execution.class_cache); other workers, such as those that
write to Weights & Biases, import nothing here. Nothing here may touch CUDA: the slot's device is not chosen yet.
"""

import os

EARLY = ("torch", "datasets", "transformers.trainer")  # the slowest imports of a slot; none of them imports ray

if "PL_DISABLE_FORK" in os.environ:
    import trainables.finetune.finetune
    import trainables.user_trainer.user_training
    import trainables.worker.slot  # noqa: F401
