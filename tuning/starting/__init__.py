"""From a user's data to a first spec that runs: `tunefleet init --data FILE`."""
