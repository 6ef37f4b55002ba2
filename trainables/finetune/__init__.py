"""The built-in fine-tuning: a Hugging Face Trainer that trains segment by segment, from evaluation to evaluation."""
