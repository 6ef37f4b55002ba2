"""Measures what tunefleet costs against its peers in one session: throughput, the controller, one exploit."""
