"""Side-by-side measurements that anyone can repeat: `make bench-NAME`."""
