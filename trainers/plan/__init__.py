"""What a run would take, before it is started: time, memory, disk and money by stage."""
