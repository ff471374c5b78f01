"""Many runs: what runs next, where, and what a person sees meanwhile."""
