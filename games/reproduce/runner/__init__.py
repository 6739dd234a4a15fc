"""What all experiments share: trainings finished once, measurements kept, tables written."""
