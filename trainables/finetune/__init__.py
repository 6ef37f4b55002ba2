"""The built-in fine-tuning: a Hugging Face Trainer that goes on segment by segment."""
