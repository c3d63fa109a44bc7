"""What happens, in which order: one file a flow, each reads like the runbook."""
