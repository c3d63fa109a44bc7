"""What an administrator needs to run rechain for real, and `make up`, which runs all of it on one machine."""
