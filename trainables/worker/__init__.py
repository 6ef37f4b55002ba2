"""The process that a trial runs in: it is reused from trial to trial, and may lead a team of others."""
