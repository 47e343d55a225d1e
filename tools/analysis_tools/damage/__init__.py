"""What try_damage.py does to files and to trainings."""
