"""Many instances: each in a process with limits, results that survive being killed, and a report on them."""
