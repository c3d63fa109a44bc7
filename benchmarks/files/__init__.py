"""What judging files costs, beside loading them."""
