"""Head of a synthetic image before it has a contrast: labels, fractions, deformation, skull-stripping.

Lesions are in `synthesis.lesions`.
"""
