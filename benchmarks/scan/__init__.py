"""What a scan of the wire costs, beside others that look at the same endpoints."""
