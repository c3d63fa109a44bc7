"""Touching and observing the fleet: inventory, roll-out, logins, the wire, sessions, server logs."""
