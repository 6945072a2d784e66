"""Questions about clips to a vision-language model, and answers that cannot reach another clip.

A `Question` has an id over everything that its answer may depend on, the clip first of all. The id travels with the
question, is what the answer is known by when it comes, in whatever order, and is the key under which it is written
down before anybody uses it: a task that was preempted never pays twice.
"""
