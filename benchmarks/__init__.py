"""What tunefleet costs, measured against its peers in one session: throughput, the controller, one exploit."""
