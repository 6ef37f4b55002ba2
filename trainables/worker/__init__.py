"""The processes that compute trials: slots, reused from trial to trial, and teams of several processes per trial."""
