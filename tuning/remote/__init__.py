"""An experiment on a cluster elsewhere: what is sent there, what runs there, what is fetched."""
