#!/bin/sh
# In the agent's place: tells how it was called, and ends as it is told.
echo "called: $*"
exit "$CODE"
