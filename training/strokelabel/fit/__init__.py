"""Training: recipes, the streams they ask for, the loop, and the models that come out.

What is drawn or computed for a single image belongs into `synthesis`; what a user sees of results into `reports`.
"""
