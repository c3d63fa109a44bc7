"""What a Prefect server has to know of rechain beyond deployments: automations, a block, lists in run forms."""
