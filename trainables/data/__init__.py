"""What trials read: data sets that are tokenised once per node, and what they came to."""
