"""What rechain decides: chains, bundles, phases, plans and proofs. Pure: no Prefect, no clock, no network."""
