"""What a roll-out costs over SSH, beside what people do without rechain."""
