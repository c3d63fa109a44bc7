"""One side effect a task: generate, distribute, reload, swap, verify."""
