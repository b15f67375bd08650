"""Programs that benchmarks start: peers, and the company that cachectl is measured in."""
