"""Running code that a model wrote, and judging it from outside.

`execution` is the way in. The other modules run inside the sandbox and use the standard library only; there they are
the package ``sandbox``, which is why they import each other by relative names.
"""
