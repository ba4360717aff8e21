"""Incidents: noticed, told, kept in a diary, written up."""
