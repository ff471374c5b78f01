"""From runs to a decision: the ranking, the answer in words, tables, figures and one report."""
